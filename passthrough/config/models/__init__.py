"""`model_list` and what belongs to it: which entries are for OCR, and the table of models that they become."""
