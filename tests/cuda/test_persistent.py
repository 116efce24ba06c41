"""The persistent kernels, many blocks at once in our simulator, give what the CPU's layers give."""

import numpy as np
import pytest
from recurrence import Recurrence, Sizes
from simulator import launch

from fastgate.kernels.cuda.blocks import Block
from fastgate.kernels.cuda.cells import MAKERS
from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward

SMALL = Block(units=4, rows=2, warps=1)
FOR_TENSOR_CORES = Block(units=8, rows=8, warps=2)
# Largest error of results near 1, and of gradients relative to the largest: some roundings of what is multiplied.
TOLERANCE = {"highest": 5e-6, "float64": 1e-13, "high": 5e-5, "medium": 3e-3, "bfloat16": 5e-2, "float16": 5e-3}


def on(seed):
    """Our simulator as the machine of a `Recurrence`."""

    def machine(program, grid, arguments):
        flat = [argument.reshape(-1) if isinstance(argument, np.ndarray) else argument for argument in arguments]
        launch(program.function, grid, program.threads, flat, shared=program.shared, seed=seed, cluster=program.cluster)

    return machine


def check(case, block, *, seed=0, precision="highest", parts=1):
    tolerance = TOLERANCE["float64" if case.dtype == "float64" else precision]
    assert case.run_forward(make_forward, block, on(seed), precision=precision, parts=parts) == 0
    assert max(case.forward_errors()) < tolerance
    assert case.run_backward(make_backward, block, on(seed + 1), precision=precision, parts=parts) == 0
    assert max(case.backward_errors()) < tolerance


@pytest.mark.parametrize("name", MAKERS)
def test_every_cell_in_ragged_rows_of_two_directions(name):
    """H is no multiple of a block's units or of 16 bytes; B none of its rows, in two parts of the batch."""
    check(Recurrence(name, Sizes(T=3, B=5, H=7, D=2), lengths=[3, 0, 2, 1, 3], reverse=0b10), SMALL, parts=2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_whoever_runs_first(name, seed):
    check(Recurrence(name, Sizes(T=3, B=3, H=8), seed=seed), SMALL, seed=10 * seed)


@pytest.mark.parametrize("name", ["lstm", "lstm_coupled_peepholes", "gru", "gru_reset_carry"])
def test_float64(name):
    check(Recurrence(name, Sizes(T=2, B=2, H=6), dtype="float64", reverse=1), SMALL)


@pytest.mark.parametrize("precision", ["high", "medium", "bfloat16", "float16"])
def test_tensor_cores(precision):
    check(Recurrence("lstm", Sizes(T=2, B=3, H=16)), FOR_TENSOR_CORES, precision=precision)


@pytest.mark.parametrize("name", ["lstm_coupled_peepholes", "gru", "gru_reset_before", "rnn_tanh"])
def test_tensor_cores_in_every_cell(name):
    check(Recurrence(name, Sizes(T=2, B=18, H=12)), Block(units=8, rows=16, warps=4), precision="high")


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_carry"])
def test_clusters(name):
    """Of two blocks, for three parts of the batch."""
    case = Recurrence(name, Sizes(T=3, B=5, H=7, D=2), lengths=[3, 0, 2, 1, 3], reverse=0b10)
    check(case, SMALL._replace(cluster=2))


def test_clusters_with_tensor_cores():
    check(Recurrence("lstm", Sizes(T=3, B=9, H=16)), FOR_TENSOR_CORES._replace(cluster=2), precision="high")


@pytest.mark.parametrize("name", ["lstm", "lstm_coupled", "gru", "gru_reset_before"])
def test_columns_shared_in_clusters(name):
    check(Recurrence(name, Sizes(T=3, B=5, H=16, D=2), reverse=0b10), SMALL._replace(together=2), parts=2)


def test_columns_shared_in_clusters_with_tensor_cores():
    check(Recurrence("lstm", Sizes(T=2, B=9, H=32)), FOR_TENSOR_CORES._replace(together=2), precision="medium")


@pytest.mark.parametrize("name", ["lstm_peepholes", "gru_reset_before"])
def test_streamed_weights(name):
    check(Recurrence(name, Sizes(T=3, B=5, H=12)), SMALL._replace(streams=True))


def test_inference_keeps_nothing():
    case = Recurrence("lstm", Sizes(T=3, B=3, H=8), lengths=[1, 3, 2])
    case.run_forward(make_forward, SMALL, on(0), keeps=False)
    assert max(case.forward_errors()) < TOLERANCE["highest"]
    assert np.isnan(case.saved).all()


def test_a_wait_in_vain_ends():
    """Half of the blocks are not there."""
    case = Recurrence("lstm", Sizes(T=3, B=2, H=8))

    def half(program, grid, arguments):
        on(0)(program, (1, *grid[1:]), arguments)

    assert case.run_forward(make_forward, SMALL, half, limit=20) == 1
