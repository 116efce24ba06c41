"""The simulator of many blocks sees what goes wrong between threads: nothing proven by it holds otherwise."""

import numpy as np
import pytest
from numba import cuda, float32
from simulator import Deadlock, Divergence, launch

from fastgate.kernels.cuda.prims import UNSET, cluster_wait, is_unset, poll1, publish1
from fastgate.kernels.cuda.tensor import (
    mma_bfloat16,
    mma_float16,
    mma_tf32,
    pack_bfloat16,
    pack_float16,
    to_tf32,
)


def in_plain_kernels(function):
    """As if it stood in `fastgate.kernels`, whose functions alone are simulated."""
    function.__module__ = "fastgate.kernels.test"
    return function


@in_plain_kernels
def turn_round(x, y, with_barrier):
    shared = cuda.shared.array(0, float32)
    i, n = cuda.threadIdx.x, cuda.blockDim.x
    shared[i] = x[cuda.blockIdx.x * n + i]
    if with_barrier:
        cuda.syncthreads()
    y[cuda.blockIdx.x * n + i] = shared[n - 1 - i]


@pytest.mark.parametrize("seed", range(3))
def test_a_missing_barrier_leaves_nan(seed):
    x, y = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    launch(turn_round, 2, 64, (x, y, True), shared=256, seed=seed)
    np.testing.assert_array_equal(y, x.reshape(2, 64)[:, ::-1].ravel())
    launch(turn_round, 2, 64, (x, y, False), shared=256, seed=seed)
    assert np.isnan(y).any()


@in_plain_kernels
def some_leave(x):
    if cuda.threadIdx.x < 7:
        cuda.syncthreads()
    else:
        cuda.syncwarp()


@in_plain_kernels
def waits_for_nobody(x):
    v = cuda.local.array(1, float32)
    poll1(v, 0, x, 0)
    while v[0] != 1:
        poll1(v, 0, x, 0)


@in_plain_kernels
def wrong_number_of_barriers(x):
    for _ in range(1 + cuda.threadIdx.x % 2 * (1 - cuda.blockIdx.x)):
        cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        cluster_wait()


def test_threads_that_never_meet():
    x = np.zeros(1, np.float32)
    with pytest.raises((Divergence, Deadlock)):
        launch(some_leave, 1, 32, (x,))
    with pytest.raises(Deadlock, match="nobody writes"):
        launch(waits_for_nobody, 1, 1, (x,), most_waits=50)
    with pytest.raises(Deadlock, match="barrier, by block"):
        launch(wrong_number_of_barriers, 2, 4, (x,), cluster=2)


@in_plain_kernels
def pass_on(x, y):
    """Every block waits for what the one before publishes."""
    v = cuda.local.array(1, float32)
    n = cuda.blockIdx.x
    poll1(v, 0, x, n)
    while is_unset(v[0]):
        poll1(v, 0, x, n)
    v[0] += 1
    publish1(x, n + 1, v, 0)
    y[n] = v[0]


@pytest.mark.parametrize("seed", range(3))
def test_blocks_hand_over(seed):
    x, y = np.full(6, UNSET, np.int32).view(np.float32), np.zeros(5, np.float32)
    x[0] = 0
    launch(pass_on, 5, 1, (x, y), seed=seed)
    np.testing.assert_array_equal(y, [1, 2, 3, 4, 5])


@in_plain_kernels
def product_of_one_warp(kind, A, B, C, D):
    """A (16,K)  B (K,8)  C, D (16,8), fragments as PTX describes them."""
    group, q = cuda.threadIdx.x // 4, cuda.threadIdx.x % 4
    c = (C[group, 2 * q], C[group, 2 * q + 1], C[group + 8, 2 * q], C[group + 8, 2 * q + 1])
    if kind == "tf32":
        a = [to_tf32(A[group + row, q + k]) for k in (0, 4) for row in (0, 8)]
        b = [to_tf32(B[q + k, group]) for k in (0, 4)]
        d = mma_tf32(*a, *b, *c)
    else:
        pack = pack_bfloat16 if kind == "bfloat16" else pack_float16
        mma = mma_bfloat16 if kind == "bfloat16" else mma_float16
        a = [pack(A[group + row, 2 * q + k + 1], A[group + row, 2 * q + k]) for k in (0, 8) for row in (0, 8)]
        b = [pack(B[2 * q + k + 1, group], B[2 * q + k, group]) for k in (0, 8)]
        d = mma(*a, *b, *c)
    D[group, 2 * q], D[group, 2 * q + 1], D[group + 8, 2 * q], D[group + 8, 2 * q + 1] = d


@pytest.mark.parametrize(("kind", "K", "tolerance"), [("tf32", 8, 2e-3), ("bfloat16", 16, 3e-2), ("float16", 16, 4e-3)])
def test_products_of_a_warp(kind, K, tolerance):
    rng = np.random.default_rng(0)
    A, B, C = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, K), (K, 8), (16, 8)))
    D = np.full((16, 8), np.nan, np.float32)
    launch(product_of_one_warp, 1, 32, (kind, A, B, C, D))
    assert 0 < np.abs(D - (A @ B + C)).max() < tolerance * np.sqrt(K)
