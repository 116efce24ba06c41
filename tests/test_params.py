"""Parameters: their names, the ways to read and write them, and what a write does."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

I, H, B, T = 3, 4, 2, 5
X = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
PAIR = (np.ones((2, B, H), np.float32),) * 2  # of zeros the recurrent weights would not matter in one step


@pytest.fixture
def layer():
    return fg.LSTM(I, H, num_layers=2, seed=0)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_names_shapes_and_order_are_those_of_torch(cell, layers, bias, bidirectional):
    torch = pytest.importorskip("torch")
    ours = getattr(fg, cell)(I, H, layers, bias=bias, bidirectional=bidirectional)
    theirs = getattr(torch.nn, cell)(I, H, layers, bias=bias, bidirectional=bidirectional)
    assert [(n, a.shape) for n, a in ours.params.items()] == [(n, tuple(a.shape)) for n, a in theirs.named_parameters()]
    assert sorted(ours.params) == sorted(theirs.state_dict())


def test_names_and_shapes_of_other_biases():
    def biases(layer):
        return {name: array.shape for name, array in layer.params.items() if name.startswith("bias")}

    assert biases(fg.LSTM(I, H, bias="single")) == {"bias_l0": (4 * H,)}
    assert biases(fg.RNN(I, H, 2, bias="single")) == {"bias_l0": (H,), "bias_l1": (H,)}
    both = biases(fg.GRU(I, H, bias="single", bidirectional=True))
    forward = {"bias_l0": (3 * H,), "bias_hn_l0": (H,)}
    assert both == forward | {f"{name}_reverse": shape for name, shape in forward.items()}
    for bias in (True, "single"):
        assert biases(fg.GRU(I, H, bias=bias, reset_after=False)) == {"bias_l0": (3 * H,)}
    assert biases(fg.GRU(I, H, bias=False, reset_after=False)) == {}
    for make, weight in ((fg.Linear, (H, I)), (fg.Embedding, (I, H))):
        assert make(I, H).params["weight"].shape == weight
    assert biases(fg.Linear(I, H)) == {"bias": (H,)}
    assert biases(fg.Linear(I, H, bias=False)) == {}


def test_it_is_a_mapping(layer):
    params = layer.params
    assert len(params) == len(list(params)) == 8
    assert list(params) == list(params.keys()) == [name for name, _ in params.items()]
    assert "weight_ih_l1" in params
    assert "weight_ih_l2" not in params
    assert params.get("weight_ih_l2") is None
    assert dict(params)["bias_hh_l1"] is params["bias_hh_l1"]
    for name, shape in (("weight_ih_l0", (4 * H, I)), ("bias_hh_l1", (4 * H,))):
        assert f"{name} {shape}" in repr(params)
    assert "float32" in repr(params)
    assert "version 1" in repr(params)


def test_arrays_are_read_only_views_of_one_vector(layer):
    flat, at = layer.params.flat, 0
    assert not flat.flags.writeable
    for name, array in layer.params.items():
        assert not array.flags.writeable
        assert np.shares_memory(array, flat)
        assert np.array_equal(array.reshape(-1), flat[at : at + array.size])
        at += array.size
        with pytest.raises(ValueError, match="read-only"):
            layer.params[name][...] = 0
    assert at == flat.size
    assert flat.dtype == layer.params.dtype == np.float32
    with pytest.raises(AttributeError):
        layer.params.version = 3
    with pytest.raises((TypeError, AttributeError)):
        del layer.params["bias_hh_l1"]


def write_item(params, name, value):
    params[name] = value


def write_update(params, name, value):
    params.update({name: value})


def write_flat(params, name, value):
    flat = params.flat.copy()
    at = sum(array.size for other, array in list(params.items())[: list(params).index(name)])
    flat[at : at + value.size] = value.reshape(-1)
    params.flat = flat


def write_edit(params, name, value):
    with params.edit() as p:
        p[name][...] = value


WAYS = [write_item, write_update, write_flat, write_edit]


@pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l1", "bias_hh_l1"])
def test_every_way_of_writing(layer, write, name):
    params = layer.params
    before, version = {n: a.copy() for n, a in params.items()}, params.version
    earlier, flat = dict(params), params.flat
    y, y_step, tape = layer(X)[0], layer.step(X[:, 0], PAIR)[0], layer.forward(X)[2]
    value = np.random.default_rng(1).standard_normal(before[name].shape).astype(np.float32)

    write(params, name, value)

    assert params.version == version + 1
    for other, array in params.items():
        assert np.array_equal(array, value if other == name else before[other])
        assert not array.flags.writeable
        assert np.shares_memory(array, params.flat)
        assert np.array_equal(earlier[other], before[other])  # what was read earlier stays
    assert np.array_equal(flat, np.concatenate([a.reshape(-1) for a in before.values()]))
    twin = fg.LSTM(I, H, num_layers=2, seed=5)
    twin.params.update(dict(params))
    assert not np.array_equal(layer(X)[0], y)
    assert not np.array_equal(layer.step(X[:, 0], PAIR)[0], y_step)
    assert np.array_equal(layer(X)[0], twin(X)[0])
    assert np.array_equal(layer.step(X[:, 0], PAIR)[0], twin.step(X[:, 0], PAIR)[0])
    dy = np.ones_like(y)
    ours, theirs = (each.backward(each.forward(X)[2], dy) for each in (layer, twin))
    assert np.array_equal(ours.x, theirs.x)
    with complaint(ValueError, "tape", "written since"):
        layer.backward(tape, dy)

    value[...] = 7  # the value written is not kept
    assert not (params[name] == 7).any()


@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_ih_l0"])
def test_edit_in_place_by_operator(layer, name):
    """As the documentation shows it."""
    before = layer.params[name]
    with layer.params.edit() as p:
        p[name] *= 0.5
    assert np.array_equal(layer.params[name], before * np.float32(0.5))


def test_edit_item_by_assignment(layer):
    with layer.params.edit() as p:
        p["bias_ih_l0"] = np.arange(4 * H)
    assert np.array_equal(layer.params["bias_ih_l0"], np.arange(4 * H))


def test_edit_publishes_once_at_the_end(layer):
    params, version, before = layer.params, layer.params.version, layer.params.flat
    with params.edit() as p:
        for name in p:
            p[name][...] = 1
        p.flat[0] = 3
        assert p["weight_ih_l0"][0, 0] == 3
        assert params.flat is before
        assert params.version == version
        kept = p["weight_ih_l0"]
    assert params.version == version + 1
    assert params.flat[0] == 3
    assert (params.flat[1:] == 1).all()
    kept[...] = 9
    assert not (params.flat == 9).any()


def test_edit_is_discarded_by_an_exception(layer):
    params, version, before = layer.params, layer.params.version, layer.params.flat
    with pytest.raises(ZeroDivisionError), params.edit() as p:
        p["bias_hh_l0"][...] = [p["bias_hh_l1"].fill(3), 1 // 0]
    assert params.flat is before
    assert params.version == version


@pytest.mark.parametrize("size", [1, 10_000], ids=["too short", "too long"])
def test_edit_does_not_let_a_wrong_vector_in(layer, size):
    y = layer(X)[0]
    with pytest.raises((TypeError, ValueError, AttributeError)), layer.params.edit() as p:
        p.flat = np.zeros(size)
    assert np.array_equal(layer(X)[0], y)
    assert layer.params.flat.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "kind", "argument", "said"),
    [
        ({"bias_ih_l0": np.zeros(4 * H), "bias_ih_l7": 0}, KeyError, "params", "no parameter 'bias_ih_l7'; there are "),
        ({"bias_ih_l0": np.zeros(4 * H), 3: 0}, KeyError, "params", "no parameter 3"),
        (
            {"bias_ih_l0": np.zeros(4 * H), "bias_hh_l0": np.zeros(H)},
            ValueError,
            "params['bias_hh_l0']",
            "(16,), got (4,)",
        ),
        ({"bias_ih_l0": np.zeros(4 * H), "bias_hh_l0": 0.0}, ValueError, "params['bias_hh_l0']", "(16,), got ()"),
        ({"bias_ih_l0": np.zeros(4 * H), "bias_hh_l0": "a"}, TypeError, "params['bias_hh_l0']", "real numbers"),
        ({"weight_ih_l0": np.zeros((I, 4 * H))}, ValueError, "params['weight_ih_l0']", "(16, 3), got (3, 16)"),
    ],
)
def test_update_is_all_or_nothing(layer, values, kind, argument, said):
    before, version = layer.params.flat, layer.params.version
    with complaint(kind, argument, said):
        layer.params.update(values)
    assert layer.params.flat is before
    assert layer.params.version == version


def test_wrong_names_and_vectors(layer):
    with complaint(KeyError, "params", "no parameter 'weight'", "weight_ih_l0, weight_hh_l0, bias_ih_l0"):
        layer.params["weight"]
    with complaint(KeyError, "params", "no parameter 'weight'"):
        layer.params["weight"] = 0
    size = layer.params.flat.size
    for shape in [(size + 1,), (1, size), ()]:
        with complaint(ValueError, "params.flat", f"({size},)", f"got {shape}"):
            layer.params.flat = np.zeros(shape)
    with complaint(TypeError, "params.flat", "real numbers"):
        layer.params.flat = None
    gradients = layer.backward(layer.forward(X)[2], np.ones((B, T, H))).params
    with complaint(KeyError, "params", "no parameter 'weight'"):
        gradients["weight"]


def test_parameters_of_another_layer_can_be_written(layer):
    other = fg.LSTM(I, H, num_layers=2, seed=9, dtype="float64")
    layer.params.update(other.params)
    assert np.array_equal(layer.params.flat, other.params.flat.astype(np.float32))
    layer.params.flat = other.params.flat * 2
    assert np.array_equal(layer.params["bias_hh_l1"], (other.params["bias_hh_l1"] * 2).astype(np.float32))


def test_gradients_are_named_as_parameters(layer):
    gradients = layer.backward(layer.forward(X)[2], np.ones((B, T, H))).params
    assert list(gradients) == list(layer.params)
    assert len(gradients) == len(layer.params)
    assert all(np.shares_memory(array, gradients.flat) for array in gradients.values())
    gradients.flat[...] = 0
    assert not any(array.any() for array in gradients.values())
    assert "weight_hh_l1 (16, 4)" in repr(gradients)
