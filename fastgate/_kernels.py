"""The one place where fastgate imports its kernels."""

from fastgate.kernels import arithmetic as arithmetic
from fastgate.kernels import cpu as cpu
from fastgate.kernels import jit as jit
from fastgate.kernels import memory as memory
from fastgate.kernels.activations import BY_PRECISION as BY_PRECISION
from fastgate.kernels.cpu import embedded as embedded
