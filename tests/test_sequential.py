"""Sequential: gradients of whole models, lengths, states, steps, dropout, memory."""

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg

rng = np.random.default_rng(0)
B, T = 3, 4
LENGTHS = [2, 0, 4]
F64 = {"dtype": "float64"}


def layout(batch_first):
    return {"batch_first": batch_first, **F64}


MODELS = {
    "final": lambda o: fg.Sequential(
        fg.Linear(3, 2, seed=0, **F64), fg.LSTM(2, 3, 2, bidirectional=True, dropout=0.4, seed=1, **o),
        fg.FinalState(), fg.Dropout(0.3, seed=1), fg.Linear(6, 2, seed=2, **F64),
    ),
    "all layers": lambda o: fg.Sequential(
        fg.GRU(3, 2, 2, seed=1, **o), fg.FinalState(all_layers=True), fg.Linear(2, 2, seed=2, **F64)
    ),
    "every step": lambda o: fg.Sequential(
        fg.LayerNorm(3, **F64), fg.Dropout(0.3, seed=0), fg.GRU(3, 2, reset_after=False, seed=1, **o),
        fg.Activation("gelu"), fg.LSTM(2, 3, seed=2, **o), fg.Linear(3, 2, seed=3, **F64), fg.Activation("softmax"),
    ),
    "nested": lambda o: fg.Sequential(
        fg.Sequential(fg.Linear(3, 3, seed=0, **F64), fg.RNN(3, 4, seed=1, **o)),
        fg.Sequential(fg.Dropout(0.4, seed=1), fg.LSTM(4, 2, bias="single", seed=2, **o)),
        fg.FinalState(),
    ),
}  # fmt: skip
models = pytest.mark.parametrize("name", MODELS)
layouts = pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "time first"])


def laid_out(x, batch_first):
    return x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))


def random_states(model, batch=B):
    """Distinct and not zero, one for each recurrent layer."""
    states = []
    for layer in recurrent(model):
        shape = (layer.num_layers * (1 + layer.bidirectional), batch, layer.hidden_size)
        parts = tuple(rng.standard_normal(shape) for _ in range(1 + isinstance(layer, fg.LSTM)))
        states.append(parts if len(parts) == 2 else parts[0])
    return tuple(states)


def recurrent(model):
    for layer in model.layers:
        if isinstance(layer, fg.Sequential):
            yield from recurrent(layer)
        elif isinstance(layer, (fg.LSTM, fg.GRU, fg.RNN)):
            yield layer


def arrays(states):
    return [part for state in states for part in (state if isinstance(state, tuple) else (state,))]


# -------------------------------------------------------------------------------------------------------- gradients


@models
@layouts
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
def test_gradients_of_whole_models(name, batch_first, lengths):
    """Every parameter, input and state, with cotangents on y and on the final states, and dropout."""
    model = MODELS[name](layout(batch_first))
    model.params.flat = 0.7 * rng.standard_normal(model.params.flat.size)
    x, start = laid_out(rng.standard_normal((B, T, 3)), batch_first), random_states(model)
    options = {"lengths": lengths, "rng_key": 5, "state": start}
    y, tape = model.forward(x, **options)
    dy, dstate = rng.standard_normal(y.shape), random_states(model)
    found = model.backward(tape, dy, dstate)

    def loss():
        y, tape = model.forward(x, **options)
        pairs = zip([y, *arrays(tape.state)], [dy, *arrays(dstate)], strict=True)
        return float(sum((value * weight).sum() for value, weight in pairs))

    assert_close(found.x, differences(loss, x))
    for own, part in zip(arrays(found.state), arrays(start), strict=True):
        assert_close(own, differences(loss, part))
    assert_close(found.params.flat, in_params(model.params, loss))
    assert list(found.params) == list(model.params)


@models
def test_either_gradient_alone(name):
    model = MODELS[name](F64)
    y, tape = model.forward(rng.standard_normal((B, T, 3)), training=False)
    dy, dstate = rng.standard_normal(y.shape), random_states(model)
    both, first, second = (model.backward(tape, *pair) for pair in ((dy, dstate), (dy,), (None, dstate)))
    # Sums of a few dozen numbers about 1, in another order.
    np.testing.assert_allclose(first.params.flat + second.params.flat, both.params.flat, 1e-12, 1e-13)
    np.testing.assert_allclose(first.x + second.x, both.x, 1e-12, 1e-13)
    upper = (None,) * (len(dstate) - 1)
    assert model.backward(tape, None, (dstate[0], *upper)).params.flat.any()
    with complaint(ValueError, "backward", "neither"):
        model.backward(tape)


def test_embedding_gradients():
    model = fg.Sequential(fg.Embedding(5, 2, seed=0, **F64), fg.LSTM(2, 3, seed=1, **F64), fg.Linear(3, 2, **F64))
    ids = rng.integers(0, 5, (B, T))
    y, tape = model.forward(ids, lengths=LENGTHS)
    dy = rng.standard_normal(y.shape)
    found = model.backward(tape, dy)
    assert found.x is None
    assert_close(found.params.flat, in_params(model.params, lambda: float((model(ids, LENGTHS) * dy).sum())))


# ---------------------------------------------------------------------------------------------------------- lengths


@models
@layouts
def test_what_lies_beyond_the_lengths_is_never_read(name, batch_first):
    model = MODELS[name](layout(batch_first))
    beyond = laid_out(np.arange(T) >= np.array(LENGTHS)[:, None], batch_first)
    x = laid_out(rng.standard_normal((B, T, 3)), batch_first)
    y, tape = model.forward(x, lengths=LENGTHS, rng_key=1)
    dy = rng.standard_normal(y.shape)
    found = model.backward(tape, dy)

    x[beyond] = np.nan
    if name == "every step":
        assert not y[beyond].any()
        dy[beyond] = np.nan
    else:
        assert y.shape[0] == B
    y_too, tape = model.forward(x, lengths=LENGTHS, rng_key=1)
    found_too = model.backward(tape, dy)
    assert np.array_equal(y, y_too)
    assert np.array_equal(found.x, found_too.x)
    assert np.array_equal(found.params.flat, found_too.params.flat)
    assert not found.x[beyond].any()


@models
@layouts
def test_each_sequence_as_if_it_were_alone(name, batch_first):
    model = MODELS[name](layout(batch_first))
    x = laid_out(rng.standard_normal((B, T, 3)), batch_first)
    y, state = model.run(x, lengths=LENGTHS)
    assert np.array_equal(y, model(x, LENGTHS))
    assert np.array_equal(y, model.forward(x, lengths=LENGTHS, training=False)[0])
    for row, length in enumerate(LENGTHS):
        own = laid_out(laid_out(x, batch_first)[row : row + 1, :length], batch_first)
        alone, state_alone = model.run(own)
        mine = laid_out(y, batch_first)[row, :length] if name == "every step" else y[row]
        assert np.array_equal(laid_out(alone, batch_first)[0] if name == "every step" else alone[0], mine)
        for part, whole in zip(arrays(state_alone), arrays(state), strict=True):
            assert np.array_equal(part[:, 0], whole[:, row])


def test_padding_may_be_no_symbol():
    model = fg.Sequential(fg.Embedding(5, 2, seed=0), fg.GRU(2, 3, seed=0), fg.FinalState())
    ids = np.array([[1, 2, -1], [3, -7, 99]])
    assert np.array_equal(model(ids, [2, 1])[0], model(ids[:1, :2])[0])
    gradients = model.backward(model.forward(ids, lengths=[2, 1])[1], np.ones((2, 3)))
    assert np.flatnonzero(gradients.params["0.weight"].any(axis=1)).tolist() == [1, 2, 3]


def test_lengths_complaints():
    model = fg.Sequential(fg.Linear(3, 3), fg.GRU(3, 3))
    with complaint(ValueError, "lengths", "(3,)"):
        model(np.ones((B, T, 3)), [1, 2])
    with complaint(ValueError, "lengths", "from 0 to 4"):
        model.forward(np.ones((B, T, 3)), lengths=[1, 2, 5])
    with complaint(ValueError, "x", "batch"):
        model.forward(np.ones(3), lengths=[1])


# ------------------------------------------------------------------------------------------------- states and steps


def test_steps_are_the_whole_sequence():
    model = fg.Sequential(
        fg.Embedding(7, 3, seed=0), fg.LSTM(3, 5, 2, seed=1), fg.LayerNorm(5), fg.Sequential(fg.GRU(5, 4, seed=2)),
        fg.Dropout(0.5), fg.Linear(4, 2, seed=3), fg.Activation("tanh"),
    )  # fmt: skip
    ids = rng.integers(0, 7, (B, T))
    y, end = model.run(ids)
    state = None
    for t in range(T):
        step, state = model.step(ids[:, t], state)
        assert np.array_equal(step, y[:, t])
    for mine, whole in zip(arrays(state), arrays(end), strict=True):
        assert np.array_equal(mine, whole)
    alone, state = model.step(3)
    assert alone.shape == (2,)
    assert model.step(5, state)[0].shape == (2,)
    half, middle = model.run(ids[:, :2])
    assert np.array_equal(np.concatenate([half, model.run(ids[:, 2:], middle)[0]], axis=1), y)
    assert np.array_equal(model.forward(ids[:, 2:], state=middle, rng_key=0, training=False)[0], y[:, 2:])


def test_step_and_state_complaints():
    model = fg.Sequential(fg.GRU(2, 3), fg.FinalState())
    with complaint(ValueError, "step", "layer 1 (FinalState)", "whole sequences"):
        model.step(np.ones((1, 2)))
    with complaint(ValueError, "step", "bidirectional"):
        fg.Sequential(fg.GRU(2, 3, bidirectional=True)).step(np.ones((1, 2)))
    with complaint(TypeError, "state", "a tuple of 1", "ndarray"):
        model.run(np.ones((1, 1, 2)), np.zeros((1, 1, 3)))
    with complaint(TypeError, "state", "a tuple of 1", "got 2"):
        model.run(np.ones((1, 1, 2)), (None, None))
    y, tape = model.forward(np.ones((1, 1, 2)))
    with complaint(TypeError, "dstate", "a tuple of 1"):
        model.backward(tape, y, ())
    with complaint(ValueError, "dstate", "(1, 1, 3)", "(1, 3)"):
        model.backward(tape, y, (np.zeros((1, 3)),))


# --------------------------------------------------------------------------------------------------------- dropout


def test_equal_dropout_layers_differ():
    model = fg.Sequential(fg.Dropout(0.5, seed=0), fg.Dropout(0.5, seed=0))
    y, _ = model.forward(np.ones((100, 100)), rng_key=0)
    # Equal masks would leave half of the entries: five standard deviations of the share of independent ones.
    assert abs((y != 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / y.size)
    masks = {model.forward(np.ones((4, 100)), rng_key=key)[0].tobytes() for key in range(20)}
    assert len(masks) == 20
    with complaint(ValueError, "rng_key", "got None"):
        model.forward(np.ones(3))
    with complaint(TypeError, "rng_key", "an integer"):
        model.forward(np.ones(3), rng_key="a")


# ----------------------------------------------------------------------------------------------------------- memory


def test_outputs_of_layers_are_not_copied_into_tapes():
    layers = fg.LayerNorm(64, **F64), fg.LSTM(64, 64, **F64)
    x = rng.standard_normal((8, 50, 64))
    _, tape = fg.Sequential(*layers).forward(x)
    alone = layers[0].forward(x)[1].nbytes + layers[1].forward(x, copy=False)[2].nbytes
    assert tape.nbytes == alone


def test_a_tape_keeps_its_own_input_through_layers_that_hand_it_on():
    x = rng.standard_normal((2, 5, 3))
    model = fg.Sequential(fg.Dropout(0.0), fg.LSTM(3, 3, **F64))
    y, tape = model.forward(x)
    before = model.backward(tape, y).params.flat
    x[...] = 7
    assert np.array_equal(model.backward(tape, y).params.flat, before)
