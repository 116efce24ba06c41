"""Masks of the recurrent layers: what lengths say they say to the last bit, and any other step can be skipped too."""

import numpy as np
import pytest
from cases import CELLS, draw, draw_states, join, make, split
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg
from fastgate.kernels.cpu import schedule, sharing

B, T, I, H = 5, 9, 3, 4
OPTIONS = {}, {"bidirectional": True, "num_layers": 2}, {"batch_first": False}
LAYERS = [(cell, options) for cell in CELLS for options in OPTIONS]
layers = pytest.mark.parametrize(
    ("cell", "options"), [*LAYERS, ("lstm", {"bidirectional": True, "proj_size": 2})], ids=str
)
rng = np.random.default_rng(0)

# Left, right and inside, nothing skipped, everything.
MASK = np.array([[0, 0, 1, 1, 1, 1, 1, 1, 1], [1] * 6 + [0] * 3, [1, 0, 0, 1, 1, 0, 1, 0, 1], [1] * T, [0] * T], bool)


def as_laid_out(layer, mask):
    return mask if layer.batch_first else mask.T


def run(layer, x, start, d_end, dy, **options):
    """Everything that comes out, by name."""
    y, end, tape = layer.forward(x, join(start), **options)
    found = layer.backward(tape, dy, join(d_end))
    assert layer(x, join(start), **{k: v for k, v in options.items() if k in ("lengths", "mask")})[0].tobytes() == (
        y.tobytes()
    )
    states = {"end": np.concatenate(split(end), -1), "start": np.concatenate(split(found.state), -1)}
    return {"y": y, "dx": found.x, "params": found.params.flat, **states}


def given(layer, mask):
    """Arguments of `run`, with NaN wherever the mask is False."""
    x, start = draw(rng, layer, *mask.shape)
    dy = rng.standard_normal((*x.shape[:2], layer._layout.output_size * (1 + layer.bidirectional)))
    x[~as_laid_out(layer, mask)] = dy[~as_laid_out(layer, mask)] = np.nan
    return x, start, draw_states(rng, layer, len(mask)), dy


@layers
def test_what_lengths_say_a_mask_says_to_the_last_bit(cell, options):
    layer, lengths = make(cell, I, H, **options), np.array([4, T, 0, 7, 7])
    mask = np.arange(T) < lengths[:, None]
    arguments = given(layer, mask)
    expected, found = run(layer, *arguments, lengths=lengths), run(layer, *arguments, mask=as_laid_out(layer, mask))
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


@layers
def test_skipping_steps_is_running_the_others(cell, options):
    """All bits are those of the sequences without the steps that are skipped; the rest is zero."""
    layer = make(cell, I, H, **options)
    x, start, d_end, dy = given(layer, MASK)
    found = run(layer, x, start, d_end, dy, mask=as_laid_out(layer, MASK))
    order, lengths = np.argsort(~MASK, axis=1, kind="stable"), MASK.sum(axis=1)

    def moved(array):
        """Steps that count first."""
        rows = array if layer.batch_first else array.swapaxes(0, 1)
        rows = np.take_along_axis(rows, order[..., None], 1)
        return np.ascontiguousarray(rows if layer.batch_first else rows.swapaxes(0, 1))

    expected = run(layer, moved(x), start, d_end, moved(dy), lengths=lengths)
    for name in expected:
        ours = moved(found[name]) if name in ("y", "dx") else found[name]
        assert ours.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell):
    """By differences, with dropout between the layers, and NaN in what is skipped."""
    layer = make(cell, 2, 2, num_layers=2, bidirectional=True, dropout=0.3)
    mask = np.random.default_rng(3).random((3, 5)) < 0.6
    mask[1] = False
    x, start, d_end, dy = given(layer, mask)

    def loss():
        y, end, _ = layer.forward(x, join(start), mask=mask, rng_key=1)
        assert not y[~mask].any()
        last = sum(float((a * b).sum()) for a, b in zip(split(end), d_end, strict=True))
        return float((y[mask] * dy[mask]).sum()) + last

    tape = layer.forward(x, join(start), mask=mask, rng_key=1)[2]
    found = layer.backward(tape, dy, join(d_end))
    assert not found.x[~mask].any()
    assert_close(found.x[mask], differences(loss, x)[mask])
    for ours, part in zip(split(found.state), start, strict=True):
        assert_close(ours, differences(loss, part))
    assert_close(found.params.flat, in_params(layer.params, loss))


@pytest.mark.parametrize("recompute", [None, 1, 4, "auto"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_threads_and_recomputation(options, threads, recompute, monkeypatch):
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(schedule, "CHUNK", 2 * B)
    layer = make("gru", I, H, **options)
    arguments, before = given(layer, MASK), fg.get_num_threads()
    expected = run(layer, *arguments, mask=as_laid_out(layer, MASK))
    try:
        fg.set_num_threads(threads)
        found = run(layer, *arguments, mask=as_laid_out(layer, MASK), recompute=recompute)
    finally:
        fg.set_num_threads(before)
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


def test_a_mask_of_steps_is_that_of_streams_which_wait():
    """Stepping only the rows that count."""
    layer = make("lstm", I, H, num_layers=2)
    x, start, *_ = given(layer, MASK)
    y, end = layer(x, join(start), mask=MASK)
    state = start
    for t in range(T):
        rows = np.flatnonzero(MASK[:, t])
        out, after = layer.step(x[rows, t], tuple(part[:, rows] for part in state))
        assert out.tobytes() == y[rows, t].tobytes()
        for part, new in zip(state, after, strict=True):
            part[:, rows] = new
    for ours, theirs in zip(end, state, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_other_kinds_of_calls():
    layer = fg.LSTM(I, H, seed=0)
    x, mask = rng.standard_normal((B, T, I)).astype(np.float32), MASK
    full, state = layer(x)
    out = np.full_like(full, np.nan)
    assert layer(x, mask=np.ones((B, T), bool))[0].tobytes() == full.tobytes()
    assert layer(x, mask=mask, out=out)[0] is out
    y, end = layer(x, mask=mask)
    assert np.array_equal(out, y)
    for row in range(B):  # unbatched
        own, (h, c), tape = layer.forward(x[row], mask=mask[row])
        assert own.tobytes() == y[row].tobytes()
        assert np.array_equal(h, end[0][:, row])
        assert np.array_equal(c, end[1][:, row])
        assert layer.backward(tape, np.where(mask[row][:, None], own, np.nan)).x.shape == (T, I)
    assert layer(x)[0].tobytes() == full.tobytes()  # the schedule that is remembered is of no mask
    small = layer.quantized("int8")
    assert small(x, mask=mask)[0][:1, 2:].tobytes() == small(x[:1, 2:])[0].tobytes()
    for shape in ((0, T), (B, 0), (0, 0)):
        y, end, tape = layer.forward(np.ones((*shape, I)), state if shape[0] else None, mask=np.ones(shape, bool))
        assert y.shape == (*shape, H)
        assert not layer.backward(tape, y).params.flat.any()


def test_complaints():
    layer, x = fg.GRU(I, H, batch_first=False), np.ones((T, B, I))
    with complaint(ValueError, "mask", "None beside lengths", f"({T}, {B})"):
        layer(x, lengths=[1] * B, mask=MASK.T)
    with complaint(ValueError, "mask", f"(time, batch) = ({T}, {B})", f"got ({B}, {T})"):
        layer(x, mask=MASK)
    with complaint(ValueError, "mask", f"(time) = ({T},)", f"got ({T}, 1)"):
        layer(x[:, 0], mask=MASK.T[:, :1])
    with complaint(TypeError, "mask", "booleans", "dtype int64; mask.astype(bool)"):
        layer.forward(x, mask=MASK.T.astype(np.int64))
    with complaint(TypeError, "mask", "booleans"):
        layer.forward(x, mask=[[True], [True, False]])
