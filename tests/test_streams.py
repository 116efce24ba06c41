"""Streams: pieces of any lengths have the bits of the whole, whatever happens to the state in between."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import CELLS, draw, make, split
from complaints import complaint

import fastgate as fg

B, T, I, H = 3, 12, 4, 5
rng = np.random.default_rng(0)
IDS = rng.integers(0, 4, (B, T))
PIECES = [1, None, 3, 0, None, 2, 3, 1]  # None: one step, without an axis of time


def model(dtype="float32"):
    """With a layer that makes a mask, and one within another."""
    options = {"dtype": dtype}
    return fg.Sequential(
        fg.Embedding(4, I, seed=0, mask_zero=True, **options),
        fg.LSTM(I, 3, 2, seed=1, **options),
        fg.Sequential(fg.Dropout(0.5), fg.GRU(3, 2, seed=2, **options)),
        fg.Linear(2, 2, seed=3, **options),
    )


def pieces(stream, x, *, batch_first=True):
    """y of all steps, pushed by PIECES; x and y (B,T,...) or (T,B,...), or without a batch (T,...)."""
    axis, outputs, at = int(batch_first and stream.batch is not None), [], 0
    for length in PIECES:
        own = np.take(x, range(at, at + (length or 0)) if length is not None else at, axis)
        y = stream.push(own)
        outputs.append(y if length is not None else np.expand_dims(y, axis))
        at += 1 if length is None else length
    assert at == x.shape[axis]
    return np.concatenate(outputs, axis)


def parts(state):
    return [part for own in state for part in split(own)] if isinstance(state[0], tuple) else split(state)


def assert_same(ours, theirs):
    for own, part in zip(parts(ours), parts(theirs), strict=True):
        assert own.tobytes() == part.tobytes()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{"num_layers": 2}, {"batch_first": False}], ids=str)
def test_pieces_have_the_bits_of_the_whole(cell, options):
    layer = make(cell, I, H, **options)
    x, _ = draw(rng, layer, B, T)
    y, end = layer(x)
    stream = layer.stream(B)
    assert pieces(stream, x, batch_first=layer.batch_first).tobytes() == y.tobytes()
    assert_same(stream.state, end)
    alone, row = layer.stream(), x[1] if layer.batch_first else x[:, 1]
    assert np.array_equal(pieces(alone, row), y[1] if layer.batch_first else y[:, 1])
    assert_same(alone.state, layer(row)[1])
    alone.reset()
    assert np.array_equal(alone.push(row.tolist()), layer(row)[0])  # anything that can be read


def test_models():
    net = model()
    y, end = net.run(IDS)
    stream = net.stream(B)
    assert np.array_equal(pieces(stream, IDS), y)
    assert_same(stream.state[0], end[0])
    assert_same(stream.state[1], end[1])
    assert np.array_equal(pieces(net.stream(), IDS[1]), y[1])
    wave = fg.Sequential(fg.Linear(I, 3, seed=0), fg.GRU(3, 2, seed=1), fg.Activation("tanh"))
    x = rng.standard_normal((B, T, I)).astype(np.float32)
    assert np.array_equal(pieces(wave.stream(B), x), wave(x))
    assert np.array_equal(pieces(fg.Sequential(fg.Linear(I, 3, seed=0)).stream(), x[0]), wave.layers[0](x[0]))


def test_resets_of_a_stream_are_those_of_a_batch():
    reset = rng.random((B, T)) < 0.3
    layer, x = fg.LSTM(I, H, 2, seed=0), rng.standard_normal((B, T, I)).astype(np.float32)
    net = model()
    for stream, given, expected in (
        (layer.stream(B), x, layer(x, reset=reset)[0]),
        (net.stream(B), IDS, net(IDS, reset=reset)),
    ):
        for t in range(T):
            before = stream.state
            stream.reset(reset[:, t])
            assert before is not stream.state
            assert np.array_equal(stream.push(given[:, t]), expected[:, t])
    alone = layer.stream()
    for t in range(T):
        alone.reset(reset[0, t])
        assert np.array_equal(alone.push(x[0, t]), layer(x, reset=reset)[0][0, t])


def test_the_state_is_ones_own():
    layer, x = fg.LSTM(I, H, 2, seed=0), rng.standard_normal((B, T, I)).astype(np.float32)
    _, start = layer(x)
    expected, _ = layer(x, start)
    stream = layer.stream(B)
    stream.state = start
    start[0][...] = stream.state[0][...] = np.nan
    twins = [copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
    assert np.array_equal(stream.push(x), expected)
    twins.append(copy.copy(stream))
    twins.pop().reset(np.ones(B, bool))
    for twin in twins:
        assert np.array_equal(twin.push(x), expected)
        assert_same(twin.state, stream.state)
    stream.state = None
    assert not any(part.any() for part in stream.state)
    alone = layer.stream()
    alone.state = tuple(part[:, 0] for part in twins[0].state)
    assert_same(alone.state, tuple(part[:, 0].copy() for part in twins[0].state))


def test_parameters_written_meanwhile():
    layer, other, x = fg.GRU(I, H, seed=0), fg.GRU(I, H, seed=1), np.ones((B, I), np.float32)
    stream = layer.stream(B)
    stream.push(x)
    _, state = layer.step(x)
    layer.params.flat = other.params.flat
    assert np.array_equal(stream.push(x), other.step(x, state)[0])


def test_streams_of_several_batches_take_turns():
    """On one layer, which remembers what it was prepared for."""
    layer, x = fg.GRU(I, H, seed=0), rng.standard_normal((B, T, I)).astype(np.float32)
    whole, first, alone = layer.stream(B), layer.stream(1), layer.stream()
    expected = layer(x)[0]
    for t in range(T):
        assert np.array_equal(whole.push(x[:, t]), expected[:, t])
        assert np.array_equal(first.push(x[1:2, t]), expected[1:2, t])
        assert np.array_equal(alone.push(x[2, t]), expected[2, t])
    whole.reset(np.zeros(B, bool))
    assert_same(whole.state, layer(x)[1])


def test_streams_of_many_threads():
    layer, x = fg.LSTM(I, H, seed=0), rng.standard_normal((B, T, I)).astype(np.float32)
    expected = layer(x)[0]
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: pieces(layer.stream(B), x), range(40)):
            np.testing.assert_array_equal(y, expected)


def test_quantized():
    layer = fg.LSTM(I, H, seed=0).quantized("int8")
    x = rng.standard_normal((B, T, I)).astype(np.float32)
    assert np.array_equal(pieces(layer.stream(B), x), layer(x)[0])


@pytest.mark.parametrize("batch", [B, None], ids=["batch", "alone"])
def test_saved_and_restored(tmp_path, batch):
    path, ids = tmp_path / "state.safetensors", IDS if batch else IDS[0]
    for owner, x in ((model("float64"), ids), (fg.RNN(1, 2, seed=0), (ids / 2.0)[..., None])):
        stream, other = owner.stream(batch), owner.stream(batch)
        stream.push(x)
        stream.save(path)
        other.restore(path)
        assert np.array_equal(other.push(x), stream.push(x))
        other.restore(path)
        assert not np.array_equal(other.push(x), stream.push(x))


def test_files_of_others(tmp_path):
    path, layer = tmp_path / "state", fg.LSTM(I, H, seed=0)
    stream = layer.stream(B)
    stream.push(np.ones((B, I)))
    before = stream.state
    others = {
        "'h' is float32 of shape (1, 2, 5), expected float32 of shape (1, 3, 5)": layer.stream(2),
        "'h' is float64": fg.LSTM(I, H, dtype="float64").stream(B),
        "shape (1, 5)": layer.stream(),
        "it holds h, expected c, h": fg.GRU(I, H).stream(B),
        "it holds 0.c, 0.h, expected": fg.Sequential(layer).stream(B),
    }
    for piece, other in others.items():
        other.save(path)
        with complaint(ValueError, "path", "is of another stream", piece):
            stream.restore(path)
    fg.save(path, layer)
    with complaint(ValueError, "path", "not one of a stream's save"):
        stream.restore(path)
    stream.save(path)
    with complaint(ValueError, "path", "not one of fastgate.save"):
        fg.load(path)
    path.write_bytes(path.read_bytes().replace(b'format\\": 1', b'format\\": 2'))
    with complaint(ValueError, "path", "of another format than 1"):
        stream.restore(path)
    path.write_bytes(b"")
    with complaint(ValueError, "path", "is empty"):
        stream.restore(path)
    with complaint(FileNotFoundError, "path", "no file"):
        stream.restore(tmp_path / "none")
    assert_same(stream.state, before)


def test_complaints():
    layer = fg.LSTM(I, H, seed=0)
    stream, alone, net = layer.stream(B), fg.GRU(I, H, batch_first=False).stream(), model().stream(B)
    before = stream.state
    for x in (np.ones((B, I + 1)), np.ones((B + 1, I)), np.ones(I), np.ones((B + 1, 2, I)), np.ones((1, 1, B, I))):
        with complaint(ValueError, "x", f"({B}, {I})", str(x.shape)):
            stream.push(x)
    assert_same(stream.state, before)
    with complaint(ValueError, "x", f"({I},) or (time, {I})", "(2, 3, 4)"):
        alone.push(np.ones((2, 3, 4)))
    with complaint(ValueError, "x", f"({B},) or ({B}, time)", f"({B}, 2, 2)"):
        net.push(np.ones((B, 2, 2), int))
    for wrong, dtype in (([["a"] * I] * B, "<U1"), ("abc", "<U3"), (None, "object")):
        with complaint(TypeError, "x", "real numbers", dtype):
            stream.push(wrong)
    with complaint(ValueError, "mask", f"(batch) = ({B},)", "(2,)"):
        stream.reset(np.ones(2, bool))
    with complaint(TypeError, "mask", "booleans", "float64"):
        stream.reset(np.ones(B))
    with complaint(ValueError, "mask", "shape ()", "(1,)"):
        alone.reset([True])
    with complaint(TypeError, "state", "a pair (h, c)"):
        stream.state = before[0]
    with complaint(ValueError, "state[0] (h)", str((1, B, H))):
        stream.state = tuple(part[:, :2] for part in before)
    with complaint(TypeError, "state", "a tuple of 2", "got 1"):
        net.state = (None,)
    with complaint(ValueError, "batch", "at least 0"):
        layer.stream(-1)
    with complaint(ValueError, "stream", "a bidirectional layer", "whole sequence"):
        fg.GRU(I, H, bidirectional=True).stream()
    with complaint(ValueError, "stream", "layer 1 (FinalState)", "whole sequences"):
        fg.Sequential(layer, fg.FinalState()).stream()
    with complaint(ValueError, "stream", "layer 0.1 (RNN)", "bidirectional"):
        fg.Sequential(fg.Sequential(fg.Linear(2, 3), fg.RNN(3, 2, bidirectional=True)), fg.Linear(4, 2)).stream()
    assert repr(stream) == f"Stream(LSTM({I}, {H}), batch={B})"
