"""Do layers fit together? What a model says when they do not."""

import copy

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg


@pytest.mark.parametrize(
    ("layers", "kind", "place", "pieces"),
    [
        ([fg.Linear(2, 3), fg.Linear(4, 3)], ValueError, "layer 1 (Linear)", ("3 features", "layer 0 (Linear)", "4")),
        ([fg.Embedding(9, 2), fg.GRU(3, 3)], ValueError, "layer 1 (GRU)", ("2 features", "layer 0 (Embedding)")),
        ([fg.GRU(2, 3, bidirectional=True), fg.Linear(3, 1)], ValueError, "layer 1 (Linear)", ("6 features",)),
        ([fg.GRU(2, 3, bidirectional=True), fg.FinalState(), fg.Linear(3, 1)], ValueError, "layer 2 (Linear)", ("6",)),
        ([fg.GRU(2, 3, 2), fg.FinalState(True), fg.Linear(6, 1)], ValueError, "layer 2 (Linear)", ("3 features",)),
        ([fg.Linear(2, 3), fg.Dropout(), fg.LayerNorm(2)], ValueError, "layer 2 (LayerNorm)", ("layer 1 (Dropout)",)),
        ([fg.FinalState()], ValueError, "layer 0 (FinalState)", ("directly before", "input")),
        ([fg.GRU(2, 3), fg.Dropout(), fg.FinalState()], ValueError, "layer 2 (FinalState)", ("layer 1 (Dropout)",)),
        ([fg.GRU(2, 3), fg.FinalState(), fg.GRU(3, 3)], ValueError, "layer 2 (GRU)", ("time steps", "FinalState")),
        ([fg.Dropout(), fg.Embedding(3, 3)], ValueError, "layer 1 (Embedding)", ("integers", "layer 0 (Dropout)")),
        ([fg.GRU(2, 3), fg.GRU(3, 3, batch_first=False)], ValueError, "layer 1 (GRU)", ("batch_first=True", "False")),
        ([fg.GRU(2, 3), fg.Linear(3, 3, dtype="float64")], ValueError, "layer 1 (Linear)", ("'float32'", "'float64'")),
        ([fg.GRU(2, 3), fg.Sequential(fg.Linear(4, 1))], ValueError, "layer 1.0 (Linear)", ("layer 0 (GRU)",)),
        ([fg.Linear], TypeError, "layer 0 (Linear)", ("class",)),
        ([fg.Linear(2, 2), np.tanh], TypeError, "layer 1 (ufunc)", ("forward and backward",)),
        ([], ValueError, "layers", ("at least one",)),
    ],
)
def test_what_does_not_fit_is_named(layers, kind, place, pieces):
    with complaint(kind, place, *pieces):
        fg.Sequential(*layers)


def test_one_layer_twice():
    layer = fg.Linear(3, 3)
    for twin in (layer, copy.copy(layer)):
        with complaint(ValueError, "layer 1 (Linear)", "of its own", "layer 0 (Linear)"):
            fg.Sequential(layer, twin)
    drop = fg.Dropout()
    fg.Sequential(drop, layer, drop)


def test_params_of_ones_own_layer_are_params():
    class Wrong:
        params = {"weight": np.ones(3)}  # noqa: RUF012

        def forward(self, x):
            return x, None

        def backward(self, tape, dy):
            return None

    with complaint(TypeError, "layer 0 (Wrong).params", "fastgate.Params", "dict"):
        fg.Sequential(Wrong())
    Wrong.params = {}
    assert len(fg.Sequential(Wrong()).params) == 0


@pytest.mark.parametrize("shapes", [[("a", (1,))], {1: (2,)}, {"a": 3}, {"a": (1.5,)}], ids=str)
def test_params_need_shapes(shapes):
    with pytest.raises(TypeError, match="shapes"):
        fg.Params(shapes)
    with complaint(ValueError, "dtype", "float16"):
        fg.Params({}, "float16")
    assert fg.Params({"a": [2, 0], "b": ()}).flat.tolist() == [0.0]


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_layers_are_given_one_by_one(kind):
    with pytest.raises(TypeError, match=r"^layer 0 .*; write Sequential\(a, b\), or Sequential\(\*layers\)$"):
        fg.Sequential(kind([fg.Linear(2, 3), fg.Linear(3, 1)]))


def test_layers_of_a_model_are_fixed():
    model = fg.Sequential(fg.Linear(2, 3), fg.GRU(3, 4))
    for name in ("layers", "params", "dtype", "batch_first"):
        with pytest.raises(AttributeError, match=name):
            setattr(model, name, ())
