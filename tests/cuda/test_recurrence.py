"""What `plan.py` chooses takes the place of the steps in a layer, and gives the same."""

import measure
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


PRECISIONS = {"high": 2e-5, "medium": 3e-3, "bfloat16": 2e-2, "float16": 2e-2}  # float16 forward, bfloat16 backward
# A layer, what it is called with, and the launches of inference, forward and backward.
CASES = {
    "lstm": (fg.LSTM, {"bidirectional": True}, {"lengths": [2, 1, 0]}, 3),
    "lstm peepholes": (fg.LSTM, {"bidirectional": True, "coupled": True, "peepholes": True}, {}, 3),
    "gru reset before": (fg.GRU, {"reset_after": False, "batch_first": False}, {"lengths": [1, 0, 2]}, 3),
    "masked": (fg.GRU, {"recurrent_dropout": 0.5}, {}, 1),  # training goes by steps
    "projected": (fg.LSTM, {"proj_size": 2}, {}, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_by_plan(name, launched):
    kind, options, told, launches = CASES[name]
    layer = kind(2, 5, seed=0, **options)
    twin, rng = layer.to("cuda"), np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 2) if layer.batch_first else (2, 3, 2)).astype(np.float32)
    y, _ = layer(x, **told)
    assert_equal(twin(x, **told)[0], y, "float32")
    y, end, tape = layer.forward(x, rng_key=0, **told)
    own, _, own_tape = twin.forward(x, rng_key=0, **told)
    assert_equal(own, y, "float32")
    expected, found = layer.backward(tape, y, end), twin.backward(own_tape, y, end)
    assert_equal(found.x, expected.x, "float32")
    for part, other in zip(parts_of(found.state), parts_of(expected.state), strict=True):
        assert_equal(part, other, "float32")
    assert_equal(np.asarray(found.params.flat), expected.params.flat, "float32")
    assert len(launched) == launches  # of one direction, or of both at once


@pytest.mark.parametrize("name", ["lstm peepholes", "gru reset before"])
def test_other_calls_by_plan(name, launched):
    """Stretches of both directions do not share launches; tangents follow what may."""
    kind, options, told, _ = CASES[name]
    layer = kind(2, 5, seed=0, **options)
    twin, rng = layer.to("cuda"), np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 2) if layer.batch_first else (2, 3, 2)).astype(np.float32)
    y, _, tape = layer.forward(x, **told)
    found = twin.backward(twin.forward(x, recompute=1, **told)[2], y)
    assert_equal(np.asarray(found.params.flat), layer.backward(tape, y).params.flat, "float32")
    assert len(launched) == (1 + layer.bidirectional) * 2 * 3
    found = twin.backward(twin.forward(x, **told)[2], y, per_sample=True)
    assert_equal(np.asarray(found.params.flat), layer.backward(tape, y, per_sample=True).params.flat, "float32")
    moves = {"dx": x, "dparams": layer.params.flat}
    assert_equal(twin.jvp(x, **moves, **told)[2], layer.jvp(x, **moves, **told)[2], "float32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precision(precision, launched, monkeypatch):
    """Not exact, and no further off than its roundings; gradients that float16 has no room for come through."""
    monkeypatch.setattr(plan, "WARPS", 2)  # the fewest that have a thread for each unit of a tile
    layer = fg.GRU(2, 9, seed=0)
    twin, rng = layer.replace(device="cuda", precision=precision), np.random.default_rng(0)
    x, dy = (rng.standard_normal((2, 3, width)).astype(np.float32) for width in (2, 9))
    y, _, tape = layer.forward(x)
    own, _, own_tape = twin.forward(x)
    assert 1e-8 < np.abs(own - y).max() < PRECISIONS[precision]
    for size in (1e-12, 1e9):
        expected, found = layer.backward(tape, size * dy), twin.backward(own_tape, size * dy)
        for part, other in ((found.x, expected.x), (np.asarray(found.params.flat), expected.params.flat)):
            assert 1e-8 < np.abs(part - other).max() / np.abs(other).max() < PRECISIONS[precision]


def test_what_measures_the_plan_runs(launched):
    """Kernels that could be chosen, forward and backward, and the constants of steps; times are those of nothing."""
    lines = list(measure.candidates("gru", 5, 2, "highest", 2, T=2))
    assert [line.split()[0] for line in lines] == ["gru", "nan", "nan"] * 2
    assert [name for name, _, _ in measure.of_steps(T=2, H=6, B=2)] == ["LAUNCH", "PLAIN"]


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
