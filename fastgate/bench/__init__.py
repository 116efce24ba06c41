"""`python -m fastgate bench`: how fast fastgate is beside every other library that is installed."""
