"""What one CUDA thread sums up."""

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.jit import equation


@equation
def inner_product(start, W, row, v, n):
    """start + W (R,K)[row] . v (B,K)[n]"""
    for k in range(v.shape[1]):
        start = fma(W[row, k], v[n, k], start)
    return start
