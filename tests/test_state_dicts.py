"""State_dicts that do not say enough, or say what does not fit."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg


def lstm(**others):
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    return {name: np.zeros(shape) for name, shape in shapes.items()} | others


def without(*names):
    return {name: array for name, array in lstm().items() if name not in names}


GRU = {name: array[:12] for name, array in lstm().items()}
RNN = {"weight_ih_l0": np.zeros((4, 3)), "weight_hh_l0": np.zeros((4, 4))}
DEEP: dict = {}
for _ in range(1000):
    DEEP = {"a": DEEP}
WIDE: dict = {"a": np.zeros(1)}
for _ in range(15):
    WIDE = {"a": WIDE, "b": WIDE}
OWN = {"a": np.zeros(1)}
OWN["self"] = OWN

WRONG = {
    "no_batch_first": (lstm(), {"batch_first": None}, "batch_first", "True or False"),
    "no_nonlinearity": (RNN, {}, "nonlinearity", "'tanh' or 'relu'"),
    "rows": (lstm(weight_hh_l0=np.zeros((15, 4))), {}, "state_dict", "4, 3 or 1"),
    "no_hidden": (lstm(weight_hh_l0=np.zeros((16, 0))), {}, "state_dict", "4, 3 or 1"),
    "columns": (lstm(weight_ih_l0=np.zeros((12, 3))), {}, "state_dict", "(16, 3)"),
    "one_axis": (lstm(weight_ih_l0=np.zeros(16)), {}, "state_dict", "weight_ih_l0"),
    "one_bias": (without("bias_hh_l0"), {}, "state_dict", "lacks 'bias_hh_l0'"),
    "no_weight": (without("weight_hh_l0"), {}, "state_dict", "LSTM, GRU, RNN or Linear"),
    "a_gap": (lstm(weight_ih_l2=np.zeros((16, 4))), {}, "state_dict", "_l1"),
    "far": (lstm(weight_ih_l999999=np.zeros((16, 4))), {}, "state_dict", "_l1"),
    "projected": (lstm(weight_hr_l0=np.zeros((4, 4))), {}, "proj_size", "less than hidden_size"),
    "projected_gru": (GRU | {"weight_hr_l0": np.zeros((4, 4))}, {}, "state_dict", "GRU"),
    "ambiguous": ({"weight": np.zeros((3, 4))}, {}, "state_dict", "weight; give one of several"),
    "several": ({"a.weight": np.zeros((3, 4)), "b.bias": np.zeros(3)}, {}, "state_dict", "'a' (weight), 'b' (bias)"),
    "checkpoint": ({"model": lstm(), "epoch": 3}, {}, "state_dict", "'epoch' (int)"),
    "no_such_part": (lstm(), {"part": "model"}, "state_dict", "got none"),
    "empty": ({}, {}, "state_dict", "got none"),
    "deep": (DEEP, {}, "state_dict", "deep"),
    "wide": (WIDE, {}, "state_dict", "at most"),
    "its_own_part": (OWN, {}, "state_dict", "at most"),
    "overflow": (
        lstm(weight_ih_l0=np.full((16, 3), 1e300)),
        {"dtype": "float32"},
        "params['weight_ih_l0']",
        "infinite",
    ),
    "dropout": (lstm(), {"dropout": 2}, "dropout", "probability"),
    "names": (lstm(), {"names": {}}, "names", "into"),
    "custom": (lstm(), {"custom": {}}, "custom", "module"),
}


@pytest.mark.parametrize(("source", "options", "argument", "piece"), WRONG.values(), ids=WRONG)
def test_wrong(source, options, argument, piece):
    with pytest.raises(ValueError, match=f"^{argument.split('[')[0]}") as caught:
        fg.from_torch(source, **({"batch_first": True} | options))
    assert piece in str(caught.value)


@pytest.mark.parametrize("kind", ["int64", "bool", "complex128", "<U3", "object"])
def test_wrong_dtypes(kind):
    with pytest.raises(TypeError, match=r"^state_dict\['weight_ih_l0'\]"):
        fg.from_torch(lstm(weight_ih_l0=np.zeros((16, 3)).astype(kind)), batch_first=True)
    with complaint(TypeError, "source", "int"):
        fg.from_torch(3)


def test_little_tensors_do_not_ask_for_many_large_layers(little_memory):
    large = {"weight_ih_l0": np.zeros((4 * 256, 1), np.float16), "weight_hh_l0": np.zeros((4 * 256, 256), np.float16)}
    small = {f"{name}_l{i}": np.zeros(1, np.float16) for i in range(1, 5000) for name in ("weight_ih", "weight_hh")}
    with pytest.raises(ValueError, match="more parameters than"):
        fg.from_torch(large | small, batch_first=True)


def test_arrays_of_any_order_and_layout():
    given = {name: np.random.default_rng(0).standard_normal(array.shape) for name, array in lstm().items()}
    odd = {"weight_ih_l0": np.asfortranarray(given["weight_ih_l0"]), "bias_ih_l0": given["bias_ih_l0"].astype(">f8")}
    odd["weight_hh_l0"] = np.repeat(given["weight_hh_l0"], 2, axis=1)[:, ::2]
    layer = fg.from_torch(given | odd, batch_first=False)
    for name, array in given.items():
        np.testing.assert_array_equal(layer.params[name], array)


def test_into_a_layer_all_or_nothing():
    layer = fg.LSTM(3, 4, seed=0)
    before = layer.params.flat
    for wrong in (without("bias_hh_l0"), lstm(more=np.zeros(1)), lstm(bias_ih_l0=np.full(16, 1e300))):
        with pytest.raises(ValueError, match=r"^(state_dict|params)"):
            fg.from_torch(wrong, into=layer)
        assert layer.params.flat is before
    assert fg.from_torch(lstm(), into=layer) is layer
    assert not layer.params.flat.any()
    norm = fg.from_torch({"ln.weight": [1, 2], "ln.bias": [3]} | {"ln.weight": np.ones(2), "ln.bias": np.ones(2)},
                         part="ln", into=fg.LayerNorm(2))  # fmt: skip
    assert norm.params["bias"].all()
    with complaint(TypeError, "into", "int"):
        fg.from_torch(lstm(), into=3)
