"""Resets in the middle of a batch: each segment between two of them is a sequence of its own, to the last bit."""

from itertools import pairwise

import numpy as np
import pytest
from cases import CELLS, draw, draw_states, join, make, split
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg
from fastgate.kernels import cpu
from fastgate.kernels.cpu import schedule, sharing

B, T, I, H = 5, 9, 3, 4
STACK = {"bidirectional": True, "num_layers": 2}
OPTIONS = {}, STACK, {"batch_first": False}
LAYERS = [(cell, options) for cell in CELLS for options in OPTIONS]
layers = pytest.mark.parametrize(
    ("cell", "options"), [*LAYERS, ("lstm", {"bidirectional": True, "proj_size": 2})], ids=str
)
rng = np.random.default_rng(0)

# In the middle, at the ends, twice in a row, nowhere, everywhere.
RESET = np.array(
    [[0, 0, 0, 1, 0, 0, 0, 1, 0], [1] + [0] * 7 + [1], [0, 1, 1, 0, 0, 1, 0, 0, 0], [0] * T, [1] * T], bool
)
# Skipping steps before, at and behind resets, and whole segments.
MASK = np.array([[1, 1, 0, 0, 1, 1, 1, 1, 0], [0] + [1] * 7 + [0], [1, 0, 0, 0, 0, 1, 1, 0, 1], [1] * T, [0] * T], bool)
LENGTHS = np.array([7, 9, 0, 4, 6])
KINDS = {"all": {}, "mask": {"mask": MASK}, "lengths": {"lengths": LENGTHS}}
kinds = pytest.mark.parametrize("kind", KINDS)


def told(layer, kind, **others):
    """What is given beside x, as it is laid out."""
    steps = {"reset": RESET, **KINDS[kind], **others}
    return {k: v.T if np.ndim(v) == 2 and not layer.batch_first else v for k, v in steps.items()}


def run(layer, x, start, d_end, dy, *, key=None, recompute=None, **steps):
    """Everything that comes out, by name."""
    y, end, tape = layer.forward(x, join(start), rng_key=key, recompute=recompute, **steps)
    found = layer.backward(tape, dy, join(d_end))
    if key is None:
        again, end_again = layer(x, join(start), **steps)
        for ours, theirs in zip((again, *split(end_again)), (y, *split(end)), strict=True):
            assert ours.tobytes() == theirs.tobytes()
    states = {f"end {i}": part for i, part in enumerate(split(end))}
    states |= {f"start {i}": part for i, part in enumerate(split(found.state))}
    return {"y": y, "dx": found.x, "params": found.params.flat, **states}


def given(layer, batch=B, steps=T):
    x, start = draw(rng, layer, batch, steps)
    dy = rng.standard_normal((*x.shape[:2], layer._layout.output_size * (1 + layer.bidirectional)))
    return x, start, draw_states(rng, layer, batch), dy


def one_by_one(layer, x, start, d_end, dy, kind):
    """The same as `run`, each segment by a call of its own; x and dy (B,T,...)."""
    batch, steps = x.shape[:2]
    directions = 1 + layer.bidirectional
    valid = {"all": np.ones_like(RESET), "mask": MASK, "lengths": np.arange(steps) < LENGTHS[:, None]}[kind]
    reset = RESET & valid if kind == "lengths" else RESET
    y, dx, params = np.zeros_like(dy), np.zeros_like(x), 0.0
    end, d_start = [np.zeros_like(part) for part in start], [np.zeros_like(part) for part in start]
    for row in range(batch):
        cuts = [0, *(np.flatnonzero(reset[row, 1:]) + 1), steps]
        for first, last in pairwise(cuts):
            # Which directions take up the user's state here, and which end here.
            begins = [first == 0 and not reset[row, 0], last == steps][:directions]
            ends = [last == steps, first == 0][:directions]

            def chosen(parts, flags, row=row):
                found = [np.zeros_like(part[:, :1]) for part in parts]
                for own, part in zip(found, parts, strict=True):
                    for d in np.flatnonzero(flags):
                        own[d::directions, 0] = part[d::directions, row]
                return join(found)

            at = np.s_[row : row + 1, first:last]
            out, state, tape = layer.forward(x[at], chosen(start, begins), mask=valid[at])
            found = layer.backward(tape, dy[at], chosen(d_end, ends))
            y[at], dx[at], params = out, found.x, params + found.params.flat
            for target, parts, flags in ((end, split(state), ends), (d_start, split(found.state), begins)):
                for own, part in zip(target, parts, strict=True):
                    for d in np.flatnonzero(flags):
                        own[d::directions, row] = part[d::directions, 0]
    states = {f"end {i}": part for i, part in enumerate(end)} | {f"start {i}": p for i, p in enumerate(d_start)}
    return {"y": y, "dx": dx, "params": params, **states}


def assert_same(found, expected):
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


@layers
@kinds
def test_resets_are_segments_run_one_by_one(cell, options, kind):
    layer = make(cell, I, H, **options)
    x, start, d_end, dy = given(layer)
    found = run(layer, x, start, d_end, dy, **told(layer, kind))
    twin = make(cell, I, H, **options | {"batch_first": True})
    if not layer.batch_first:
        x, dy, found["y"], found["dx"] = (a.swapaxes(0, 1).copy() for a in (x, dy, found["y"], found["dx"]))
    expected = one_by_one(twin, x, start, d_end, dy, kind)
    assert_close(found.pop("params"), expected.pop("params"))  # another order of sums
    assert_same(found, expected)


@kinds
def test_stepping_with_a_state_that_is_reset(kind):
    """What the words say: zeros before the step, skipped or not."""
    layer = make("lstm", I, H, num_layers=2)
    x, start, *_ = given(layer)
    y, end = layer(x, join(start), **told(layer, kind))
    valid = {"all": np.ones_like(RESET), "mask": MASK, "lengths": np.arange(T) < LENGTHS[:, None]}[kind]
    state = [part.copy() for part in start]
    for t in range(T):
        rows = np.flatnonzero(valid[:, t])
        for part in state:
            part[:, RESET[:, t] & (valid[:, t] | (kind != "lengths"))] = 0
        out, after = layer.step(x[rows, t], tuple(part[:, rows] for part in state))
        assert out.tobytes() == y[rows, t].tobytes()
        assert not y[~valid[:, t], t].any()
        for part, new in zip(state, after, strict=True):
            part[:, rows] = new
    for ours, theirs in zip(end, state, strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("cell", CELLS)
@kinds
def test_gradients(cell, kind):
    """By differences, with both dropouts."""
    layer = make(cell, 2, 2, dropout=0.3, recurrent_dropout=0.3, **STACK)
    x, start, d_end, dy = given(layer)
    steps = told(layer, kind)

    def loss():
        y, end, _ = layer.forward(x, join(start), rng_key=1, **steps)
        return float((y * dy).sum()) + sum(float((a * b).sum()) for a, b in zip(split(end), d_end, strict=True))

    found = run(layer, x, start, d_end, dy, key=1, **steps)
    assert_close(found["dx"], differences(loss, x))
    for i, part in enumerate(start):
        assert not found[f"start {i}"][::2, 4].any()  # reset at its first step
        assert_close(found[f"start {i}"], differences(loss, part))
    assert_close(found["params"], in_params(layer.params, loss))


@pytest.mark.parametrize("recompute", [None, 1, "auto"])
@pytest.mark.parametrize("threads", [1, 3])
@kinds
def test_threads_and_recomputation(kind, threads, recompute, monkeypatch):
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(schedule, "CHUNK", 2 * B)
    layer, before = make("gru", I, H, recurrent_dropout=0.3, dropout=0.3, **STACK), fg.get_num_threads()
    arguments, steps = given(layer), told(layer, kind)
    expected = run(layer, *arguments, key=3, **steps)
    try:
        fg.set_num_threads(threads)
        assert_same(run(layer, *arguments, key=3, recompute=recompute, **steps), expected)
    finally:
        fg.set_num_threads(before)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("shape", [(1, 12), (3, 6)], ids=str)
def test_sharing_units(cell, shape, monkeypatch):
    """Few sequences on several threads, each computing some units of all segments."""
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(sharing, "FLOPS_PER_TURN", 1.0)
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", 100)
    layer, before = make(cell, I, 33), fg.get_num_threads()
    arguments, reset = given(layer, *shape), np.random.default_rng(1).random(shape) < 0.3
    expected = run(layer, *arguments, reset=reset)
    try:
        fg.set_num_threads(2)
        assert_same(run(layer, *arguments, reset=reset), expected)
    finally:
        fg.set_num_threads(before)


def test_dropout_masks_are_those_without_resets():
    """Before the first reset nothing changes; and behind it the masks are still those of the sequence and the time."""
    layer = make("rnn_relu", I, H, num_layers=2, dropout=0.5, recurrent_dropout=0.5)
    x, *_ = given(layer)
    reset = np.zeros((B, T), bool)
    reset[[1, 3], 4] = True
    plain, cut = (layer.forward(x, rng_key=5, reset=r)[0] for r in (None, reset))
    assert plain[:, :4].tobytes() == cut[:, :4].tobytes()
    assert plain[[0, 2, 4]].tobytes() == cut[[0, 2, 4]].tobytes()
    assert not np.array_equal(plain[[1, 3], 4:], cut[[1, 3], 4:])
    layer.params.update({name: array * 0 for name, array in layer.params.items() if "weight_hh" in name})
    assert layer.forward(x, rng_key=5, reset=reset)[0].tobytes() == layer.forward(x, rng_key=5)[0].tobytes()


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_share_of_a_batch_has_the_masks_that_it_has_there(batch_first):
    layer = make("lstm", I, H, num_layers=2, dropout=0.5, recurrent_dropout=0.5, batch_first=batch_first)
    x, start, *_ = given(layer)
    whole = layer.forward(x, join(start), rng_key=5, reset=told(layer, "all")["reset"])[0]
    rows = (slice(1, 4),) if batch_first else (slice(None), slice(1, 4))
    with cpu.part_of_batch(cpu.Part(1, 3, B, time_first=not batch_first)):
        own = [part[:, 1:4] for part in start]
        share = layer.forward(x[rows], join(own), rng_key=5, reset=told(layer, "all")["reset"][rows])[0]
    np.testing.assert_allclose(share, whole[rows], rtol=1e-12, atol=1e-14)


def test_other_kinds_of_calls():
    layer = fg.LSTM(I, H, seed=0)
    x = rng.standard_normal((B, T, I)).astype(np.float32)
    full, state = layer(x)
    for nothing in (np.zeros((B, T), bool), np.eye(B, T, dtype=bool) & (np.arange(B) < 1)[:, None]):
        y, end = layer(x, reset=nothing)  # at the first step of zeros
        assert y.tobytes() == full.tobytes()
        assert end[1].tobytes() == state[1].tobytes()
    nan = tuple(np.full_like(part, np.nan) for part in state)
    at_the_beginning = np.arange(T) == np.zeros((B, 1))
    y, _, tape = layer.forward(x, nan, reset=at_the_beginning)  # a state that nobody knows
    assert y.tobytes() == full.tobytes()
    assert not any(part.any() for part in layer.backward(tape, y).state)
    out = np.full_like(full, np.nan)
    assert layer(x, reset=RESET, out=out)[0] is out
    y, end = layer(x, reset=RESET)
    assert np.array_equal(out, y)
    for row in range(B):
        own, (h, c), tape = layer.forward(x[row], reset=RESET[row])
        assert own.tobytes() == y[row].tobytes()
        assert np.array_equal(h, end[0][:, row])
        assert np.array_equal(c, end[1][:, row])
        assert layer.backward(tape, own).x.shape == (T, I)
    assert layer(x)[0].tobytes() == full.tobytes()  # what is remembered of the shapes knows no resets
    small = layer.quantized("int8")
    assert small(x, reset=RESET)[0][0, 3:7].tobytes() == small(x[:1, 3:7])[0].tobytes()
    for shape in ((0, T), (B, 0), (0, 0)):
        y, end, tape = layer.forward(np.ones((*shape, I)), state if shape[0] else None, reset=np.ones(shape, bool))
        assert y.shape == (*shape, H)
        assert not layer.backward(tape, y).params.flat.any()


def test_complaints():
    layer, x = fg.GRU(I, H, batch_first=False), np.ones((T, B, I))
    with complaint(ValueError, "reset", f"(time, batch) = ({T}, {B})", f"got ({B}, {T})"):
        layer(x, reset=RESET)
    with complaint(ValueError, "reset", f"(time) = ({T},)", f"got ({T}, 1)"):
        layer(x[:, 0], reset=RESET.T[:, :1])
    with complaint(TypeError, "reset", "booleans", "int64; reset.astype(bool)"):
        layer.forward(x, reset=RESET.T.astype(np.int64))
    with complaint(ValueError, "x", "of 3 dimensions beside lengths", f"({T}, {I})"):
        layer(x[:, 0], lengths=[T])
