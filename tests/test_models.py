"""Models written, printed and copied; the same as in PyTorch, on any number of threads."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

rng = np.random.default_rng(0)


def classifier(**options):
    return fg.Sequential(
        fg.Embedding(50, 8, seed=0, **options),
        fg.Dropout(0.2, seed=0),
        fg.LSTM(8, 16, 2, dropout=0.3, bidirectional=True, seed=1, **options),
        fg.FinalState(),
        fg.LayerNorm(32, **options),
        fg.Linear(32, 8, seed=2, **options),
        fg.Activation("relu"),
        fg.Linear(8, 3, seed=3, **options),
    )


IDS = rng.integers(0, 50, (12, 20))
LENGTHS = rng.integers(0, 21, 12)


# ------------------------------------------------------------------------------------------------------- parameters


def test_params_are_those_of_the_layers():
    model = classifier()
    before = model.params.version
    assert model.params.flat.size == sum(layer.params.flat.size for layer in (model.layers[i] for i in (0, 2, 4, 5, 7)))
    assert list(model.params)[:2] == ["0.weight", "2.weight_ih_l0"]
    assert np.shares_memory(model.params["5.bias"], model.layers[5].params.flat)
    assert not model.params["5.bias"].flags.writeable
    model.params["5.bias"] = np.ones(8)
    assert model.layers[5].params["bias"].tolist() == [1] * 8
    model.params.update({"0.weight": np.zeros((50, 8)), "7.bias": [1, 2, 3]})
    assert not model.layers[0].params.flat.any()
    with model.params.edit() as p:
        p["7.bias"] *= 2
        p.flat[:4] = 9
    assert model.params["7.bias"].tolist() == [2, 4, 6]
    assert model.params.flat[:5].tolist() == [9, 9, 9, 9, 0]
    model.params.flat = np.arange(model.params.flat.size)
    assert model.params["7.bias"].tolist() == [float(model.params.flat.size - i) for i in (3, 2, 1)]
    assert model.params.version > before
    with pytest.raises(ValueError, match="read-only"):
        model.params.flat[0] = 1
    assert "2.weight_hh_l1_reverse (64, 16)" in repr(model.params)


def test_a_wrong_write_changes_nothing():
    model = classifier()
    before = model.params.flat
    with pytest.raises(KeyError, match=r"7\.scale"):
        model.params.update({"0.weight": np.zeros((50, 8)), "7.scale": 1})
    with complaint(ValueError, "params['7.bias']", "(3,)"):
        model.params.update({"0.weight": np.zeros((50, 8)), "7.bias": np.zeros(4)})
    with complaint(ValueError, "params.flat", str(before.shape)):
        model.params.flat = np.zeros(3)
    with pytest.raises(ZeroDivisionError), model.params.edit() as p:
        p.flat[...] = 1 / 0
    with pytest.raises(KeyError, match="no parameter"):
        model.params["8.weight"]
    assert np.array_equal(model.params.flat, before)


@pytest.mark.parametrize("i", [0, -1])
def test_a_write_that_would_be_lost_leaves_all_layers(i):
    model = classifier()
    before, own = model.params.flat, model.params.layers[i]
    with complaint(RuntimeError, "params", "by other means"), model.params.edit() as p:
        p.flat[...] = 1
        own.flat = own.flat
    np.testing.assert_array_equal(model.params.flat, before)


def test_a_quantized_layer_of_a_model_cannot_be_written():
    model = fg.Sequential(fg.GRU(2, 3).quantized("bfloat16"), fg.FinalState(), fg.Linear(3, 2))
    before = model.params.flat
    assert model(np.ones((1, 4, 2))).shape == (1, 2)
    with complaint(TypeError, "params", "cannot be written"):
        model.params.flat = np.zeros_like(before)
    with complaint(TypeError, "params", "cannot be written"):
        model.params["2.bias"] = [1, 2]
    with complaint(TypeError, "forward", "inference only"):
        model.forward(np.ones((1, 4, 2)))
    assert np.array_equal(model.params.flat, before)


def test_a_subclass_nests_too():
    class Own(fg.Sequential):
        pass

    model = fg.Sequential(Own(fg.Embedding(5, 2), fg.GRU(2, 3)), fg.FinalState())
    assert list(model.params)[:2] == ["0.0.weight", "0.1.weight_ih_l0"]
    assert model([[1, 2]]).shape == (1, 3)


def test_a_tape_is_of_one_model_and_its_parameters():
    model = classifier()
    y, tape = model.forward(IDS, rng_key=0)
    with complaint(ValueError, "tape", "another layer"):
        classifier().backward(tape, y)
    with complaint(TypeError, "tape", "forward"):
        model.backward(None, y)
    model.layers[7].params["bias"] = np.ones(3)
    with complaint(ValueError, "tape", "written since"):
        model.backward(tape, y)


def test_an_optimiser_takes_the_layers_or_the_model():
    one, other = classifier(), classifier()
    for model in (one, other):
        optimizer = fg.Adam(1e-2)
        for key in range(3):
            y, tape = model.forward(IDS, rng_key=key)
            gradients = model.backward(tape, y)
            parts = model.params.split(gradients.params)
            assert all(np.shares_memory(part.flat, gradients.params.flat) for part in parts)
            assert [list(part) for part in parts] == [list(own) for own in model.params.layers]
            optimizer.step(model.params.layers, parts)
    assert np.array_equal(one.params.flat, other.params.flat)


# ---------------------------------------------------------------------------------------------------------- printed


def test_printed_form_makes_the_same_model():
    model = fg.Sequential(fg.Sequential(fg.Embedding(5, 2), fg.GRU(2, 3)), fg.FinalState(all_layers=True))
    assert repr(model) == (
        "Sequential(\n    Sequential(\n        Embedding(5, 2),\n        GRU(2, 3),\n    ),\n"
        "    FinalState(all_layers=True),\n)"
    )
    assert repr(eval(repr(model), vars(fg))) == repr(model)
    assert model.summary().splitlines() == [
        "layer                               parameters",
        "0.0    Embedding(5, 2)                      10",
        "0.1    GRU(2, 3)                            63",
        "1      FinalState(all_layers=True)           0",
        "all                                         73",
    ]


# ----------------------------------------------------------------------------------------------------------- copies


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_equal_and_independent(duplicate):
    model = classifier()
    y, tape = model.forward(IDS, lengths=LENGTHS, rng_key=1)
    twin = duplicate(model)
    assert repr(twin) == repr(model)
    own, own_tape = twin.forward(IDS, lengths=LENGTHS, rng_key=1)
    assert np.array_equal(own, y)
    assert np.array_equal(twin.backward(own_tape, y).params.flat, model.backward(tape, y).params.flat)
    twin.params.flat = np.zeros_like(twin.params.flat)
    assert not twin.layers[7].params.flat.any()
    assert not twin(IDS).any()
    assert np.array_equal(model.forward(IDS, lengths=LENGTHS, rng_key=1)[0], y)


def test_a_shallow_copy_shares_its_parameters():
    model = classifier()
    twin = copy.copy(model)
    y, tape = model.forward(IDS, rng_key=1)
    assert np.array_equal(twin.backward(tape, y).params.flat, model.backward(tape, y).params.flat)


def test_configuration():
    model = fg.Sequential(classifier(), fg.Linear(3, 2, seed=5))
    twin = fg.from_config(model.config())
    assert repr(twin) == repr(model)
    assert np.array_equal(twin.params.flat, model.params.flat)
    assert np.array_equal(twin.forward(IDS, rng_key=0)[0], model.forward(IDS, rng_key=0)[0])


# ---------------------------------------------------------------------------------------------------------- threads


def everything(model):
    y, tape = model.forward(IDS, lengths=LENGTHS, rng_key=3)
    found = model.backward(tape, y)
    return b"".join(array.tobytes() for array in (y, found.params.flat, tape.state[0][0], model(IDS, LENGTHS)))


def test_the_same_bits_for_any_number_of_threads():
    model, before = classifier(), fg.get_num_threads()
    results = set()
    try:
        for threads in (1, 2, 3):
            fg.set_num_threads(threads)
            results.add(everything(model))
    finally:
        fg.set_num_threads(before)
    assert len(results) == 1


def test_calls_from_many_threads():
    model = classifier()
    expected = everything(model)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(everything, [model] * 12)) == {expected}


# ---------------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_parity_with_torch(cell, ragged, torch):
    """torch.nn.Sequential has the same names, except that recurrent layers need a hand to be one of its parts."""
    nn = torch.nn

    class Final(getattr(nn, cell)):
        def forward(self, x):
            if ragged:
                x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            _, state = super().forward(x)
            h = state[0] if cell == "LSTM" else state
            return torch.cat([h[-2], h[-1]], dim=1)

    lengths = torch.tensor(np.maximum(LENGTHS, 1))
    theirs = nn.Sequential(
        nn.Embedding(50, 8),
        Final(8, 16, 2, batch_first=True, bidirectional=True),
        nn.Identity(),
        nn.LayerNorm(32),
        nn.Linear(32, 3),
        nn.GELU(),
    ).double()
    f64 = {"dtype": "float64"}
    model = fg.Sequential(
        fg.Embedding(50, 8, **f64),
        getattr(fg, cell)(8, 16, 2, bidirectional=True, **f64),
        fg.FinalState(),
        fg.LayerNorm(32, **f64),
        fg.Linear(32, 3, **f64),
        fg.Activation("gelu"),
    )
    model.params.update(theirs.state_dict())
    expected = theirs(torch.tensor(IDS))
    dy = rng.standard_normal(expected.shape)
    expected.backward(torch.tensor(dy))
    y, tape = model.forward(IDS, lengths=lengths.numpy() if ragged else None)
    found = model.backward(tape, dy).params
    np.testing.assert_allclose(y, expected.detach().numpy(), 1e-10, 1e-12)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(found[name], parameter.grad.numpy(), 1e-10, 1e-12)
