"""LSTM: one time step, a thread for each sequence and hidden unit. Weights as PyTorch has them, gates i, f, g, o."""

from numba import cuda

from fastgate.kernels.cuda.products import inner_product
from fastgate.kernels.equations import lstm_cell


@cuda.jit
def step_kernel(x, h, c, W_ih, W_hh, b, h_next, c_next):
    """x (B,I)  h, c (B,H)  W_ih (4H,I)  W_hh (4H,H)  b (4H), both biases added -> h_next, c_next (B,H)"""
    n, u = cuda.grid(2)
    B, H = h.shape
    if n < B and u < H:
        a_i = inner_product(inner_product(b[u], W_ih, u, x, n), W_hh, u, h, n)
        a_f = inner_product(inner_product(b[H + u], W_ih, H + u, x, n), W_hh, H + u, h, n)
        a_g = inner_product(inner_product(b[2 * H + u], W_ih, 2 * H + u, x, n), W_hh, 2 * H + u, h, n)
        a_o = inner_product(inner_product(b[3 * H + u], W_ih, 3 * H + u, x, n), W_hh, 3 * H + u, h, n)
        h_new, c_new, _, _, _, _ = lstm_cell(a_i, a_f, a_g, a_o, c[n, u])
        h_next[n, u] = h_new
        c_next[n, u] = c_new
