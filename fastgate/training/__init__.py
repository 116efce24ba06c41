"""Training: the loop behind `model.fit`, where its batches come from, and what survives an interruption."""
