"""The compiled half of fastgate: arrays in, arrays out.

Nothing here checks its arguments: wrong shapes read and write outside the arrays. Users go through `fastgate`.
"""

if __name__ != "fastgate.kernels":
    raise ImportError("import fastgate.kernels, not kernels")
