"""Back-propagation that recomputes: the same gradients to the last bit, from less memory; and streams in pieces."""

import numpy as np
import pytest
from cases import CELLS, draw, draw_states, join, make, split
from complaints import complaint

import fastgate as fg
from fastgate.kernels.cpu import schedule, sharing

B, I, H = 3, 2, 5
RAGGED = np.array([11, 0, 30])


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Gradients are summed up over whole steps, some 256 rows: of these small batches, only a few steps here."""
    monkeypatch.setattr(schedule, "CHUNK", 2 * B)


def everything(gradients):
    return [gradients.x, *split(gradients.state), gradients.params.flat]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"batch_first": False}], ids=str)
@pytest.mark.parametrize("recompute", [1, 7, 30, 1000, "auto"])
def test_gradients_are_the_same_to_the_last_bit(cell, lengths, options, recompute):
    T, rng = 30, np.random.default_rng(1)
    layer = make(cell, I, H, **options)
    x, start = draw(rng, layer, B, T)
    d_end = draw_states(rng, layer, B)
    y, end, tape = layer.forward(x, join(start), lengths=lengths)
    dy = rng.standard_normal(y.shape)
    again, end_again, sparse = layer.forward(x, join(start), lengths=lengths, recompute=recompute)
    assert again.tobytes() == y.tobytes()
    for ours, theirs in zip(split(end_again), split(end), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    for _ in range(2):  # a tape can be used again
        found, expected = (everything(layer.backward(t, dy, join(d_end))) for t in (sparse, tape))
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("recompute", [3, "auto"])
def test_with_dropout_and_threads(recompute, monkeypatch):
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    rng, before = np.random.default_rng(2), fg.get_num_threads()
    layer = fg.LSTM(I, H, 2, dropout=0.5, seed=0)
    x = rng.standard_normal((B, 20, I))
    y, _, tape = layer.forward(x, rng_key=3)
    expected = layer.backward(tape, y)
    try:
        fg.set_num_threads(3)
        again, _, sparse = layer.forward(x, rng_key=3, recompute=recompute)
        found = layer.backward(sparse, again)
    finally:
        fg.set_num_threads(before)
    for ours, theirs in zip(everything(found), everything(expected), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_the_tape_does_not_refer_to_the_start():
    layer, x = fg.GRU(I, H, seed=0), np.ones((B, 9, I), np.float32)
    start = np.ones((1, B, H), np.float32)
    y, _, tape = layer.forward(x, start, recompute=2)
    expected = layer.backward(tape, y).params.flat
    start[...] = np.nan
    assert np.array_equal(layer.backward(tape, y).params.flat, expected)


def test_memory_grows_with_the_square_root_of_the_steps():
    """Beside x, which the tape can share with the caller."""

    def kept(T):
        x = np.zeros((1, T, 1), np.float32)
        tape = layer.forward(x, recompute="auto", copy=False)[2]
        return tape.nbytes - x.nbytes

    layer = fg.LSTM(1, 16, seed=0)
    assert kept(6_400) < 2.5 * kept(1_600)  # 4 times as many steps
    x = np.zeros((1, 6_400, 1), np.float32)
    assert kept(6_400) < layer.forward(x)[2].nbytes / 100


@pytest.mark.parametrize("T", [0, 1])
def test_no_step_and_one(T):
    layer = fg.LSTM(I, H, seed=0)
    y, state, tape = layer.forward(np.ones((B, T, I)), recompute="auto")
    plain_y, plain_state, plain = layer.forward(np.ones((B, T, I)))
    assert np.array_equal(y, plain_y)
    assert np.array_equal(state, plain_state)
    found, expected = (layer.backward(t, y, plain_state) for t in (tape, plain))
    for ours, theirs in zip(everything(found), everything(expected), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("recompute", "error"),
    [
        (0, ValueError),
        (-3, ValueError),
        ("sometimes", ValueError),
        (2.5, TypeError),
        ([3], TypeError),
        (True, TypeError),
    ],
)
def test_what_recompute_can_be(recompute, error):
    with complaint(error, "recompute"):
        fg.LSTM(I, H, seed=0).forward(np.ones((B, 4, I)), recompute=recompute)


def test_a_stream_in_pieces():
    """Truncated back-propagation: the state is carried on, and nothing goes back beyond a piece.

    The pieces' outputs are those of the whole; with the gradient of the state carried back, so are their gradients.
    """
    layer = fg.LSTM(I, H, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((B, 24, I)), rng.standard_normal((B, 24, H))
    y, _, tape = layer.forward(x)
    expected = layer.backward(tape, dy)
    state, outputs, tapes = None, [], []
    for piece in np.split(x, 4, axis=1):
        out, state, own = layer.forward(piece, state)
        outputs.append(out)
        tapes.append(own)
    assert np.array_equal(np.concatenate(outputs, 1), y)

    truncated = sum(layer.backward(t, d).params.flat for t, d in zip(tapes, np.split(dy, 4, axis=1), strict=True))
    assert not np.allclose(truncated, expected.params.flat)
    dstate, total, dx = None, 0, []
    for t, d in zip(reversed(tapes), reversed(np.split(dy, 4, axis=1)), strict=True):
        gradients = layer.backward(t, d, dstate)
        dstate, total = gradients.state, total + gradients.params.flat
        dx.insert(0, gradients.x)
    np.testing.assert_allclose(total, expected.params.flat, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.concatenate(dx, 1), expected.x, rtol=0, atol=1e-14)


def test_a_hundred_thousand_steps():
    layer = fg.GRU(1, 8, dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((1, 100_000, 1))
    y, _, tape = layer.forward(x, recompute="auto", copy=False)
    plain = layer.forward(x, copy=False)[2]
    assert tape.nbytes < plain.nbytes / 20
    found, expected = (layer.backward(t, y).params.flat for t in (tape, plain))
    assert found.tobytes() == expected.tobytes()
