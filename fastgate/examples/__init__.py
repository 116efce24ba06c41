"""Whole programs on the public API, to run (``python -m fastgate.examples.NAME``), to read and to copy."""
