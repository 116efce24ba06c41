"""Layers with device="cuda" give what those on the CPU give, forward and backward, whatever the options."""

import pickle

import numpy as np
import pytest

import fastgate as fg
from fastgate.kernels import cpu, cuda

pytestmark = pytest.mark.usefixtures("device")

B, T, I, H = 3, 4, 2, 3
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # sums of some ten products of values near 1, in another order
RESET = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]], bool)
MASK = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]], bool)

CASES = {
    "lstm": (fg.LSTM, {"num_layers": 2, "dropout": 0.5, "bidirectional": True}, {"lengths": [2, 4, 0]}),
    "lstm masked": (fg.LSTM, {"num_layers": 2, "dropout": 0.5, "batch_first": False}, {"mask": MASK.T}),
    "lstm float32": (fg.LSTM, {"dtype": "float32", "bias": False, "clip": 0.4}, {}),
    "lstm activations": (fg.LSTM, {"activations": ("hard_sigmoid", "softsign", "relu"), "clip": 0.5}, {}),
    "gru": (fg.GRU, {"bidirectional": True, "bias": "single"}, {"mask": MASK, "reset": RESET}),
    "gru float32": (
        fg.GRU,
        {"dtype": "float32", "batch_first": False, "precision": "bfloat16"},
        {"lengths": [4, 1, 3]},
    ),
    "gru reset before": (fg.GRU, {"reset_after": False, "bidirectional": True}, {"lengths": [3, 0, 4]}),
    "gru reset carry": (fg.GRU, {"reset_after": False, "reset_carry": True}, {"lengths": [3, 0, 4]}),
    "gru masked": (
        fg.GRU,
        {"recurrent_dropout": 0.4, "bidirectional": True, "num_layers": 2},
        {"mask": MASK, "reset": RESET},
    ),
    "gru reset before masked": (fg.GRU, {"reset_after": False, "recurrent_dropout": 0.4}, {"lengths": [3, 0, 4]}),
    "gru reset carry masked": (
        fg.GRU,
        {"reset_after": False, "reset_carry": True, "recurrent_dropout": 0.4, "batch_first": False, "clip": 0.7},
        {},
    ),
    "lstm coupled": (fg.LSTM, {"coupled": True, "bidirectional": True}, {"lengths": [2, 4, 0]}),
    "lstm peepholes": (fg.LSTM, {"peepholes": True, "num_layers": 2, "bidirectional": True}, {"mask": MASK}),
    "lstm coupled peepholes": (fg.LSTM, {"coupled": True, "peepholes": True}, {"reset": RESET}),
    "lstm projected": (
        fg.LSTM,
        {"proj_size": 2, "num_layers": 2, "bidirectional": True, "dropout": 0.5},
        {"lengths": [2, 4, 0]},
    ),
    "lstm all": (
        fg.LSTM,
        {"proj_size": 2, "coupled": True, "peepholes": True, "recurrent_dropout": 0.4, "bidirectional": True}
        | {"activations": ("hard_sigmoid", "softsign", "tanh"), "clip": 0.5, "bias": "single"},
        {"reset": RESET},
    ),
    "lstm masked float32": (fg.LSTM, {"peepholes": True, "recurrent_dropout": 0.4, "dtype": "float32"}, {}),
    "rnn masked": (fg.RNN, {"recurrent_dropout": 0.4, "bidirectional": True}, {"mask": MASK}),
    "rnn": (fg.RNN, {"bidirectional": True}, {"reset": RESET}),
    "rnn relu": (fg.RNN, {"nonlinearity": "relu", "num_layers": 2, "batch_first": False}, {}),
}


def parts_of(state):
    return state if isinstance(state, tuple) else (state,)


def example(kind, layer, rng):
    """x, states, dy and dstate."""
    leading = (B, T) if layer.batch_first else (T, B)
    D = 1 + layer.bidirectional
    size = getattr(layer, "proj_size", 0) or H
    x, dy = (rng.standard_normal((*leading, width)) for width in (I, D * size))
    states = [rng.standard_normal((D * layer.num_layers, B, width)) for width in (size, H, size, H)]
    pairs = [tuple(states[:2]), tuple(states[2:])] if kind is fg.LSTM else states[::2]
    return x, dy, *pairs


def assert_equal(own, expected, dtype):
    assert type(own) is type(expected)
    assert own.shape == expected.shape
    np.testing.assert_allclose(own, expected, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("name", CASES)
def test_same_as_the_cpu(name):
    kind, options, told = CASES[name]
    layer = kind(I, H, seed=1, **{"dtype": "float64", **options})
    twin, dtype = layer.to("cuda"), layer.dtype.name
    assert twin.to("cuda") is twin
    assert twin.device == "cuda"
    x, dy, state, dstate = example(kind, layer, np.random.default_rng(0))

    y, end = layer(x, state, **told)
    own, own_end = twin(x, state, **told)
    assert_equal(own, y, dtype)
    for part, expected in zip(parts_of(own_end), parts_of(end), strict=True):
        assert_equal(part, expected, dtype)

    y, end, tape = layer.forward(x, state, rng_key=3, **told)
    own, own_end, own_tape = twin.forward(x, state, rng_key=3, **told)
    assert_equal(own, y, dtype)
    assert not own.flags.writeable
    assert own_tape.y_shape == tape.y_shape
    assert own_tape.nbytes > 0
    expected, found = layer.backward(tape, dy, dstate), twin.backward(own_tape, dy, dstate)
    assert_equal(found.x, expected.x, dtype)
    for part, other in zip(parts_of(found.state), parts_of(expected.state), strict=True):
        assert_equal(part, other, dtype)
    assert_equal(np.asarray(found.params.flat), expected.params.flat, dtype)


OPTIONS = {"proj_size": 2, "peepholes": True, "recurrent_dropout": 0.5}


@pytest.mark.parametrize(("kind", "options"), [(fg.LSTM, {}), (fg.LSTM, OPTIONS), (fg.GRU, {})])
def test_unbatched_steps_and_empty(kind, options):
    layer = kind(I, H, num_layers=2, seed=0, dtype="float64", **options)
    twin, x = layer.to("cuda"), np.random.default_rng(0).standard_normal((T, I))
    y, state = layer(x)
    own, own_state = twin(x)
    assert_equal(own, y, "float64")
    for part, expected in zip(parts_of(own_state), parts_of(state), strict=True):
        assert_equal(part, expected, "float64")
    state = None
    for step, expected in zip(x, y, strict=True):
        own, state = twin.step(step, state)
        assert_equal(own, expected, "float64")
    own, _ = twin.step(x[:2])
    assert_equal(own, layer.step(x[:2])[0], "float64")
    for shape in ((2, 0, I), (0, 2, I)):
        y, _, tape = twin.forward(np.zeros(shape), rng_key=0)
        assert y.shape == (*shape[:2], options.get("proj_size", H))
        assert np.asarray(twin.backward(tape, y).params.flat).any() == 0


def test_what_lies_beyond_is_never_read():
    layer = fg.LSTM(I, H, seed=0, dtype="float64", device="cuda")
    x = np.random.default_rng(0).standard_normal((B, T, I))
    lengths = [2, 4, 1]
    y, _, tape = layer.forward(x, lengths=lengths)
    first = layer.backward(tape, y)
    beyond = np.arange(T) >= np.array(lengths)[:, None]
    x[beyond] = np.nan
    again, _, tape = layer.forward(x, lengths=lengths)
    dy = np.where(beyond[..., None], np.nan, again)
    second = layer.backward(tape, dy)
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(second.params.flat, first.params.flat)
    np.testing.assert_array_equal(second.x, first.x)
    out = np.full(y.shape, np.nan)
    assert layer(x, lengths=lengths, out=out)[0] is out
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize(("name", "weights"), [("lstm", "bfloat16"), ("lstm", "float16"), ("gru reset before", "int8")])
def test_small_weights(name, weights):
    """Those of the CPU's quantized layer, which alone lie on the device; states and both directions as ever."""
    kind, options, told = CASES[name]
    layer = kind(I, 5, seed=1, **options | {"num_layers": 2})
    small, twin = layer.quantized(weights), layer.to("cuda").quantized(weights)
    assert type(twin) is type(small)
    np.testing.assert_array_equal(twin.params.flat, small.params.flat)
    x = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
    y, end = small(x, **told)
    own, own_end = pickle.loads(pickle.dumps(twin))(x, **told)
    assert_equal(own, y, "float32")
    for part, expected in zip(parts_of(own_end), parts_of(end), strict=True):
        assert_equal(part, expected, "float32")
    with pytest.raises(TypeError, match="forward"):
        twin.forward(x)


@pytest.mark.parametrize("weights", ["bfloat16", "float16", "int8"])
def test_no_digit_is_lost_in_storing_small_weights(weights):
    """Rows of zeros, of the least numbers, and of one."""
    rng = np.random.default_rng(0)
    given = rng.standard_normal((5, 6)).astype(np.float32) * np.float32([[1], [1e-4], [0], [1e-31], [1e3]])
    expected = cpu.rounded(given, weights)
    stored = cuda.quantize_weights(
        cuda.pack_weights(cuda.cell("rnn"), expected, expected[:, :5], *np.zeros((2, 5), np.float32)), weights
    )
    assert stored.W_ih.stored.nbytes == expected.size * (1 if weights == "int8" else 2)
    W_ih, W_hh, _, _ = stored.in_order()
    np.testing.assert_array_equal(np.asarray(W_ih)[:, 0], expected)
    if weights != "int8":  # whose scales are those of whole rows
        np.testing.assert_array_equal(np.asarray(W_hh)[:, 0], expected[:, :5])
