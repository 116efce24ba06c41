"""`python -m fastgate convert`: files of weights from one library to another, verified."""
