"""Where results are written: their places, the work aside, the manifest."""
