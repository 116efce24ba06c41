"""GRU, `reset_after=True`: one time step, a thread for each sequence and hidden unit. Gates r, z, n as in PyTorch."""

from numba import cuda

from fastgate.kernels.cuda.products import inner_product
from fastgate.kernels.equations import gru_cell


@cuda.jit
def step_kernel(x, h, W_ih, W_hh, b_ih, b_hh, h_next):
    """x (B,I)  h (B,H)  W_ih (3H,I)  W_hh (3H,H)  b_ih, b_hh (3H) -> h_next (B,H)"""
    n, u = cuda.grid(2)
    B, H = h.shape
    if n < B and u < H:
        a_r = inner_product(inner_product(b_ih[u] + b_hh[u], W_ih, u, x, n), W_hh, u, h, n)
        a_z = inner_product(inner_product(b_ih[H + u] + b_hh[H + u], W_ih, H + u, x, n), W_hh, H + u, h, n)
        a_n = inner_product(b_ih[2 * H + u], W_ih, 2 * H + u, x, n)
        q = inner_product(b_hh[2 * H + u], W_hh, 2 * H + u, h, n)
        h_new, _, _, _ = gru_cell(a_n, a_r, a_z, q, h[n, u])
        h_next[n, u] = h_new
