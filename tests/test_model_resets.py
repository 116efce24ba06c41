"""Resets in models: every layer with a state is told of them, and no other knows them."""

from itertools import pairwise

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg

rng = np.random.default_rng(0)
F64 = {"dtype": "float64"}
B, T = 3, 6
X = rng.standard_normal((B, T, 3))
RESET = np.array([[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0], [0] * T], bool)
MASK = np.array([[1, 1, 0, 1, 1, 1], [0, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0]], bool)


def model(*, batch_first=True):
    """With all that lies over time, but for the end of it."""
    options = {"batch_first": batch_first, **F64}
    return fg.Sequential(
        fg.Masking(),
        fg.Linear(3, 3, seed=0, **F64),
        fg.LSTM(3, 2, seed=2, dropout=0.5, num_layers=2, **options),
        fg.RepeatPast(batch_first),
        fg.Reverse(batch_first),
        fg.Sequential(fg.GRU(2, 3, bidirectional=True, seed=3, **options), fg.MergeDirections("mul")),
        fg.Linear(3, 2, seed=4, **F64),
    )


@pytest.mark.parametrize("batch_first", [True, False])
def test_gradients_of_a_whole_model(batch_first):
    net, x, reset = model(batch_first=batch_first), np.where(MASK[..., None], X, 0), RESET
    if not batch_first:
        x, reset = x.swapaxes(0, 1).copy(), reset.T
    y, tape = net.forward(x, reset=reset, rng_key=1)
    assert np.array_equal(tape.mask, (MASK if batch_first else MASK.T)[(slice(None),) * batch_first + np.s_[::-1,]])
    dy = rng.standard_normal(y.shape)
    found = net.backward(tape, dy)

    def loss():
        return float((net.forward(x, reset=reset, rng_key=1)[0] * dy).sum())

    assert_close(found.params.flat, in_params(net.params, loss))


def test_segments_are_models_run_one_by_one():
    """Also behind a layer that turns them round, and for whatever is behind one that makes a mask."""
    net, x = model(), np.where(MASK[..., None], X, 0)
    y = net(x, reset=RESET)
    for row, cuts in enumerate([[0, 3, T], [0, 2, 4, T], [0, T]]):
        for first, last in pairwise(cuts):
            part = net(x[row : row + 1, first:last])[0]
            assert part.tobytes() == np.ascontiguousarray(y[row, T - last : T - first]).tobytes()
    assert np.array_equal(net(x[0], reset=RESET[0]), y[0])  # unbatched


def test_states_and_the_gradient_of_x():
    net = fg.Sequential(fg.GRU(3, 2, seed=0, **F64), fg.LSTM(2, 2, seed=1, **F64), fg.FinalState())
    _, start = net.run(X[:, :2])
    x = X.copy()
    for told in ({}, {"mask": MASK}, {"lengths": [6, 3, 0]}):
        y, tape = net.forward(x, state=start, reset=RESET, **told)
        found = net.backward(tape, np.ones_like(y))
        for array, ours in ((x, found.x), (start[0], found.state[0]), (start[1][1], found.state[1][1])):
            assert_close(ours, differences(lambda told=told: net.run(x, start, reset=RESET, **told)[0].sum(), array))
        assert not found.state[0][:, 0].any()
        assert np.array_equal(net(x, reset=RESET, **told), net.run(x, reset=RESET, **told)[0])


def test_beyond_the_lengths_no_reset_is_read():
    """Neither by a layer that gets lengths nor behind one that makes a mask of them."""
    lengths, tail = [6, 3, 1], RESET | (np.arange(T) > 3) & (np.arange(B) > 0)[:, None]
    for layers in ((), (fg.Reverse(),), (fg.Masking(),)):
        net = fg.Sequential(*layers, fg.GRU(3, 2, seed=0, **F64), fg.FinalState())
        own = np.arange(T) < np.array(lengths)[:, None]
        assert np.array_equal(net(X, lengths, reset=tail), net(X, lengths, reset=RESET & own))


class Spy:
    def __init__(self, seen):
        self.seen = seen

    def forward(self, x, *, reset):
        self.seen.append(reset)
        return x, None

    def backward(self, tape, dy):
        return fg.LayerGradients(dy, {})


def test_layers_of_ones_own():
    seen = []
    net = fg.Sequential(Spy(seen), fg.Reverse(), Spy(seen), fg.GRU(3, 2))
    net(X, reset=RESET)
    net(X)
    assert np.array_equal(seen[0], RESET)
    assert np.array_equal(seen[1], [[0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0], [0] * T])
    assert seen[2:] == [None, None]
    with complaint(ValueError, "step", "layer 0 (Spy)"):
        net.step(X[:, 0])


def test_complaints():
    net = model()
    with complaint(ValueError, "reset", f"({B}, {T})", f"({T}, {B})"):
        net(X, reset=RESET.T)
    with complaint(TypeError, "reset", "booleans", "int64"):
        net.forward(X, reset=RESET.astype(np.int64))
