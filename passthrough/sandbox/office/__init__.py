"""DOCX and PPTX, read as what they are: XML in an archive."""
