"""The persistent kernels on a real GPU, each kind by itself, `pytest -m gpu`: the same bits in every run."""

import numpy as np
import pytest
from numba import cuda
from recurrence import Recurrence, Sizes
from test_persistent import TOLERANCE

from fastgate.kernels.cuda.blocks import Block
from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward
from fastgate.kernels.cuda.prims import SIMULATED

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(SIMULATED or not cuda.is_available(), reason="needs a GPU")]

KINDS = {
    "in registers": (Block(8, 8, 8), Sizes(T=50, B=13, H=256, I=20, D=2), "highest"),
    "an odd H": (Block(4, 4, 8), Sizes(T=20, B=5, H=123, I=20), "highest"),
    "the largest": (Block(8, 8, 8), Sizes(T=20, B=9, H=1024, I=20), "highest"),
    "tensor cores": (Block(8, 8, 8), Sizes(T=50, B=20, H=512, I=20), "high"),
    "TF32": (Block(8, 8, 8), Sizes(T=50, B=20, H=512, I=20), "medium"),
    "bfloat16": (Block(8, 8, 8), Sizes(T=20, B=20, H=256, I=20), "bfloat16"),
    "float16": (Block(8, 8, 8), Sizes(T=20, B=20, H=256, I=20), "float16"),
    "columns shared, in 16 bits": (Block(16, 16, 8, together=4), Sizes(T=50, B=64, H=1024, I=20), "bfloat16"),
    "a cluster, in 16 bits": (Block(32, 8, 8, cluster=8), Sizes(T=100, B=64, H=256, I=20), "float16"),
    "columns shared": (Block(8, 32, 8, together=8), Sizes(T=50, B=64, H=1024, I=20), "high"),
    "streamed": (Block(16, 4, 8, streams=True), Sizes(T=10, B=6, H=1500, I=20), "highest"),
    "a cluster": (Block(32, 8, 8, cluster=4), Sizes(T=100, B=300, H=128, I=20, D=2), "highest"),
    "a cluster with tensor cores": (Block(32, 8, 8, cluster=4), Sizes(T=100, B=300, H=128, I=20), "high"),
}


def on_gpu(program, grid, arguments):
    """The GPU as the machine of a `Recurrence`."""
    arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]
    there = {id(array): cuda.to_device(array.reshape(-1)) for array in arrays}
    program.launch(grid, [there.get(id(argument), argument) for argument in arguments])
    cuda.synchronize()
    for array in arrays:
        array[...] = there[id(array)].copy_to_host().reshape(array.shape)


@pytest.mark.parametrize(
    "name", ["lstm", "lstm_coupled_peepholes", "gru", "gru_reset_before", "gru_reset_carry", "rnn_tanh"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind, name):
    block, sizes, precision = KINDS[kind]
    case = Recurrence(name, sizes, reverse=0b10 if sizes.D == 2 else 0)
    results = []
    for _ in range(2):
        assert case.run_forward(make_forward, block, on_gpu, precision=precision) == 0
        assert max(case.forward_errors()) < 10 * TOLERANCE[precision]
        assert case.run_backward(make_backward, block, on_gpu, precision=precision) == 0
        assert max(case.backward_errors()) < 30 * TOLERANCE[precision]
        results.append((case.found_y.copy(), case.da.copy()))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_wait_in_vain_ends():
    def half(program, grid, arguments):
        on_gpu(program, (grid[0] // 2, *grid[1:]), arguments)

    case = Recurrence("lstm", Sizes(T=5, B=2, H=64))
    assert case.run_forward(make_forward, Block(8, 8, 8), half, limit=1 << 16) == 1
