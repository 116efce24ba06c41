"""A block's part of a recurrent product where W is too large for all registers: W is read anew in every step."""

import numpy as np
from numba import cuda
from numba.np.numpy_support import from_dtype

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda.inner_products import LANES, Product, Share, make_store_sums, pitch_of, sums_pitch_of
from fastgate.kernels.cuda.prims import load16, width
from fastgate.kernels.jit import equation


def make_streamed_product(make_fetch, K, N, block, dtype):
    """By fused multiply-adds, W read anew for every step, once for all sequences at a time: where it is too large."""
    share, WIDTH, ROWS = Share.of(K, N, block.warps, dtype), width(dtype), block.rows
    M, K_LANES, K_GROUPS, VECTORS, COLUMNS = share
    PITCH, ALL, PART = pitch_of(COLUMNS), ROWS * M, M * WIDTH
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    fetch, store_sums = make_fetch(COLUMNS), make_store_sums(share, N, ROWS)

    @equation
    def load(W, first, w):
        pass

    @equation
    def multiply(w, W, first, shared, start, sums, rows):
        lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        group = warp * K_LANES + lane % K_LANES
        v, a = cuda.local.array(WIDTH, NUMBER), cuda.local.array(M, NUMBER)
        total, part = cuda.local.array(ALL, NUMBER), cuda.local.array(PART, NUMBER)
        for n in range(ALL):
            total[n] = ZERO
        for j in range(VECTORS):
            k = (j * K_GROUPS + group) * WIDTH
            for m in range(M):
                fetch(W, first, lane // K_LANES * M + m, k, part, m * WIDTH)
            for b in range(ROWS):
                load16(v, 0, shared, start + b * PITCH + k)
                for e in range(WIDTH):
                    for m in range(M):
                        total[b * M + m] = fma(part[m * WIDTH + e], v[e], total[b * M + m])
        for b in range(ROWS):
            if b < rows:
                for m in range(M):
                    a[m] = total[b * M + m]
                store_sums(a, shared, sums, b)

    return Product(1, NUMBER, COLUMNS, PITCH, block.warps, sums_pitch_of(N), load, multiply)
