"""What `plan.py` chooses takes the place of the steps in a layer, and gives the same."""

import numpy as np
import pytest
from test_device_layers import assert_equal, parts_of

import fastgate as fg
from fastgate.kernels.cuda import plan, recurrence, streams
from fastgate.kernels.cuda.launch import Program
from fastgate.kernels.cuda.memory import Memory
from fastgate.kernels.cuda.prims import SIMULATED

pytest.importorskip("greenlet", reason="the simulator of many blocks needs greenlet")
if not SIMULATED:
    pytest.skip("a GPU runs its plans everywhere; here they run in a simulator", allow_module_level=True)

from simulator import launch


@pytest.fixture
def launched(monkeypatch):
    """Plans run in the simulator of many blocks; the programs that did."""
    found = []

    def run(self, grid, arguments, stream=0):
        found.append(self)
        own = [argument.on_host() if isinstance(argument, Memory) else argument for argument in arguments]
        launch(self.function, grid, self.threads, own, shared=self.shared, cluster=self.cluster, seed=len(found))

    monkeypatch.setattr(recurrence, "HAS_PLANS", True)
    monkeypatch.setattr(plan, "WARPS", 1)  # a simulated thread takes a while
    plan.plan_for.cache_clear()
    monkeypatch.setattr(Program, "launch", run)
    yield found
    plan.plan_for.cache_clear()


CASES = {
    "lstm": (fg.LSTM, {"bidirectional": True}, {"lengths": [2, 1, 0]}),
    "gru reset before": (fg.GRU, {"reset_after": False, "batch_first": False}, {"lengths": [1, 0, 2]}),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_by_plan(name, launched):
    kind, options, told = CASES[name]
    layer = kind(2, 5, seed=0, **options)
    twin, rng = layer.to("cuda"), np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 2) if layer.batch_first else (2, 3, 2)).astype(np.float32)
    y, _ = layer(x, **told)
    assert_equal(twin(x, **told)[0], y, "float32")
    y, end, tape = layer.forward(x, **told)
    own, _, own_tape = twin.forward(x, **told)
    assert_equal(own, y, "float32")
    expected, found = layer.backward(tape, y, end), twin.backward(own_tape, y, end)
    assert_equal(found.x, expected.x, "float32")
    for part, other in zip(parts_of(found.state), parts_of(expected.state), strict=True):
        assert_equal(part, other, "float32")
    assert_equal(np.asarray(found.params.flat), expected.params.flat, "float32")
    assert len(launched) == 3  # of one direction, or of both at once


def test_a_wait_in_vain_is_an_error(monkeypatch, launched):
    layer = fg.RNN(2, 5, seed=0, device="cuda")
    layer(np.zeros((1, 2, 2)))

    def in_vain(self, grid, arguments, stream=0):
        streams.error_flag().on_host()[:] = 1

    monkeypatch.setattr(Program, "launch", in_vain)
    with pytest.raises(RuntimeError, match="did not make progress"):
        layer(np.zeros((1, 2, 2)))
    layer.params.flat = layer.params.flat * 2  # said once
    np.asarray(layer.params.flat)
