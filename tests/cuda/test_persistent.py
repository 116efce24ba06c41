"""The persistent kernels, many blocks at once in our simulator, give what the CPU's layers give."""

import pytest
from recurrence import Recurrence, Sizes
from simulator import launch

from fastgate.kernels.cuda.blocks import Block
from fastgate.kernels.cuda.cells import MAKERS
from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward

SMALL = Block(units=4, rows=2, warps=1)


def on(seed):
    def machine(program, grid, arguments):
        flat = [argument.reshape(-1) if hasattr(argument, "reshape") else argument for argument in arguments]
        launch(program.function, grid, program.threads, flat, shared=program.shared, seed=seed)

    return machine


@pytest.mark.parametrize("name", MAKERS)
def test_forward_and_backward(name):
    case = Recurrence(name, Sizes(T=3, B=3, H=8))
    assert case.run_forward(make_forward, SMALL, on(0)) == 0
    assert max(case.forward_errors()) < 2e-6
    assert case.run_backward(make_backward, SMALL, on(1)) == 0
    assert max(case.backward_errors()) < 5e-6
