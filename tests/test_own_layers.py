"""Layers of one's own in a model: what they must have, and what they are given."""

from types import SimpleNamespace

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg

rng = np.random.default_rng(0)
B, T = 3, 4
LENGTHS = [2, 0, 4]
F64 = {"dtype": "float64"}


class Scale:
    """With parameters, by the protocol alone."""

    def __init__(self, features):
        self.in_features = self.out_features = features
        self.params = fg.Params({"scale": (features,)}, "float64")
        self.params["scale"] = np.arange(1.0, features + 1)

    def forward(self, x):
        return x * self.params["scale"], x

    def backward(self, tape, dy):
        d_scale = (tape * dy).sum(axis=tuple(range(dy.ndim - 1)))
        return SimpleNamespace(x=dy * self.params["scale"], params={"scale": d_scale})


class MeanOverTime:
    """Without parameters, of sequences of unequal length; batch first."""

    def forward(self, x, *, lengths):
        counts = np.full(len(x), x.shape[1]) if lengths is None else lengths
        mask = (np.arange(x.shape[1]) < counts[:, None])[..., None] / np.maximum(counts, 1)[:, None, None]
        return (x * mask).sum(axis=1), mask

    def backward(self, tape, dy):
        return SimpleNamespace(x=dy[:, None] * tape)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
def test_layers_of_ones_own(lengths):
    model = fg.Sequential(
        Scale(3), fg.GRU(3, 4, seed=0, **F64), MeanOverTime(), fg.Linear(4, 2, seed=1, **F64), Scale(2)
    )
    assert next(iter(model.params)) == "0.scale"
    x = rng.standard_normal((B, T, 3))
    y, tape = model.forward(x, lengths=lengths)
    dy = rng.standard_normal(y.shape)
    assert np.array_equal(model(x, lengths), y)
    found = model.backward(tape, dy)
    assert_close(found.x, differences(lambda: float((model(x, lengths) * dy).sum()), x))
    assert_close(found.params.flat, in_params(model.params, lambda: float((model(x, lengths) * dy).sum())))
    with complaint(ValueError, "step", "layer 2 (MeanOverTime)"):
        model.step(x[:, 0])
    tape = model.forward(x)[1]
    model.layers[0].params["scale"] = np.ones(3)
    with complaint(ValueError, "tape", "written since"):
        model.backward(tape, dy)


def test_options_are_offered_to_those_that_take_them():
    seen = []

    class Spy:
        def __init__(self, forward):
            self.forward = forward

        def backward(self, tape, dy):
            return SimpleNamespace(x=dy, params={})

    model = fg.Sequential(
        Spy(lambda x: (x, seen.append({}))),
        Spy(lambda x, training: (x, seen.append({"training": training}))),
        Spy(lambda x, *, rng_key=None: (x, seen.append({"rng_key": rng_key}))),
        Spy(lambda x, **options: (x, seen.append(options))),
    )
    model.forward(np.ones((2, 3)), rng_key=5, lengths=[1, 2])
    assert seen[:3] == [{}, {"training": True}, {"rng_key": 22}]
    assert seen[3].pop("lengths").tolist() == [1, 2]
    assert seen[3] == {"training": True, "rng_key": 23, "mask": None, "reset": None}
    seen.clear()
    model(np.ones((2, 3)))
    assert seen == [
        {}, {"training": False}, {"rng_key": None},
        {"training": False, "rng_key": None, "lengths": None, "mask": None, "reset": None},
    ]  # fmt: skip


def test_a_layer_that_forgets_a_gradient():
    layer = Scale(3)
    layer.backward = lambda tape, dy: SimpleNamespace(x=dy)
    model = fg.Sequential(layer)
    y, tape = model.forward(np.ones((2, 3)))
    with complaint(ValueError, "layer 0 (Scale).backward", "scale", "none"):
        model.backward(tape, y)


def test_an_error_says_in_which_layer():
    model = fg.Sequential(fg.Linear(3, 4), fg.Sequential(fg.Activation("relu"), fg.LSTM(4, 2)))
    with pytest.raises(ValueError, match="x: expected") as caught:
        model.forward(np.ones(3))
    assert caught.value.__notes__ == ["in layer 1.1 (LSTM)"]


@pytest.mark.parametrize("first", [fg.Linear(3, 4, seed=0, **F64), Scale(3)], ids=["Linear", "Scale"])
def test_beyond_its_length_a_sequence_has_no_gradient(first):
    """Though the layer, which is not told of lengths, has one: what forward read there are zeros."""

    class Mean:
        def forward(self, x):
            return x.mean(1), x.shape

        def backward(self, tape, dy):
            return SimpleNamespace(x=np.broadcast_to(dy[:, None] / tape[1], tape))

    model, x = fg.Sequential(first, Mean()), rng.standard_normal((B, T, 3))
    beyond = np.arange(T) >= np.array(LENGTHS)[:, None]
    x[beyond] = np.nan
    y, tape = model.forward(x, lengths=LENGTHS)
    dx = model.backward(tape, np.ones_like(y)).x
    assert not dx[beyond].any()
    assert dx[~beyond].all()


@pytest.mark.parametrize("found", [np.ones((2, 3)), None, (np.ones((2, 3)), {})])
def test_backward_that_returns_no_gradients(found):
    layer = SimpleNamespace(forward=lambda x: (x, None), backward=lambda tape, dy: found)
    model = fg.Sequential(layer, fg.Linear(3, 1))
    y, tape = model.forward(np.ones((2, 3)))
    with complaint(TypeError, "layer 0 (SimpleNamespace).backward", "LayerGradients(dx, {})", type(found).__name__):
        model.backward(tape, y)
