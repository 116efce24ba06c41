"""Recurrent dropout: exact gradients, masks that are a pure function of their place, and inference that knows nothing
of it. What it computes is compared with Keras in `test_keras_parity.py`.
"""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from cases import draw, draw_states, join, make, split
from complaints import complaint
from test_gradients import ATOL, RTOL, Case, Problem

import fastgate as fg
from fastgate.kernels import cpu
from fastgate.kernels.cpu import sharing
from fastgate.kernels.cpu.recurrent_dropout import Masks

P = 0.4
EVERYTHING = {"proj_size": 3, "peepholes": True, "coupled": True, "clip": 1.1}
VARIANTS = {
    "lstm": ("lstm", {}),
    "lstm_all": ("lstm", EVERYTHING),
    "gru": ("gru", {}),
    "gru_reset_before": ("gru_reset_before", {}),
    "gru_reset_carry": ("gru_reset_carry", {}),
    "rnn": ("rnn_tanh", {}),
}
CASES = {
    "ragged": (4, 5, Case({"num_layers": 2, "dropout": 0.3, "recurrent_dropout": P}, [2, 0, 4, 1])),
    "both_ways": (2, 9, Case({"bidirectional": True, "bias": "single", "recurrent_dropout": P})),
}

variants = pytest.mark.parametrize("variant", VARIANTS)


def made(variant, I, H, **options):
    cell, own = VARIANTS[variant]
    return make(cell, I, H, **{"recurrent_dropout": P} | own | options)


@variants
@pytest.mark.parametrize(("B", "H", "case"), CASES.values(), ids=CASES)
def test_every_entry_of_every_gradient(variant, B, H, case):
    cell, own = VARIANTS[variant]
    problem = Problem(cell, B, 4, 2, H, case._replace(options=own | case.options))
    inputs, params = problem.gradients()
    for name, array in {"x": problem.x, **dict(zip(("h0", "c0"), problem.start, strict=False))}.items():
        np.testing.assert_allclose(inputs[name], problem.differences(array), RTOL, ATOL, err_msg=name)
    np.testing.assert_allclose(params.flat, problem.parameter_differences(), RTOL, ATOL, err_msg=str(params))


@variants
@pytest.mark.parametrize("H", [5, 16])
def test_a_mask_of_ones_changes_nothing(variant, H):
    """The smallest of probabilities drops nothing, and 1 / (1 - p) is 1."""
    options = {"bidirectional": True, "num_layers": 2}
    layer, plain = made(variant, 3, H, recurrent_dropout=2.0**-60, **options), made(variant, 3, H, **options)
    x, start = draw(np.random.default_rng(0), layer, 5, 6)
    lengths, d_end = [6, 0, 3, 6, 1], draw_states(np.random.default_rng(1), layer, 5)
    y, end, tape = layer.forward(x, join(start), lengths=lengths, rng_key=0)
    expected, expected_end, plain_tape = plain.forward(x, join(start), lengths=lengths, training=False)
    for found, part in zip([y, *split(end)], [expected, *split(expected_end)], strict=True):
        np.testing.assert_array_equal(found, part)  # to the bit
    found, part = (each.backward(own, np.cos(y), join(d_end)) for each, own in ((layer, tape), (plain, plain_tape)))
    for ours, theirs in zip([found.x, *split(found.state)], [part.x, *split(part.state)], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.params.flat, part.params.flat, rtol=1e-10, atol=1e-12)


def results(layer, lengths, recompute=None, key=7):
    """All results of a forward and a backward pass, as bytes."""
    x, start = draw(np.random.default_rng(3), layer, 7, 6)
    y, end, tape = layer.forward(x, join(start), lengths=lengths, recompute=recompute, rng_key=key)
    gradients = layer.backward(tape, np.cos(y), join(draw_states(np.random.default_rng(4), layer, 7)))
    arrays = [y, *split(end), gradients.x, *split(gradients.state), gradients.params.flat]
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("lengths", [[4, 6, 0, 1, 6, 3, 2], None], ids=["ragged", "full"])
@pytest.mark.parametrize("shared", ["sequences", "units"])
@variants
def test_bits_do_not_depend_on_threads_nor_on_recomputation(variant, shared, lengths, monkeypatch):
    options = {"bidirectional": True}
    layer, before = made(variant, 3, 37, **options), fg.get_num_threads()
    expected = results(layer, lengths)
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(sharing, "FLOPS_PER_TURN", 1.0)
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", {"sequences": 0, "units": 7}[shared])
    try:
        for threads in (1, 3):
            fg.set_num_threads(threads)
            layer(draw(np.random.default_rng(3), layer, 7, 6)[0])  # inference has a batch of its own
            assert results(layer, lengths) == expected
    finally:
        fg.set_num_threads(before)
    assert results(layer, lengths, recompute=2) == expected
    assert results(layer, lengths, key=8) != expected


# ---------------------------------------------------------------------------------------------------------- the masks


def masks(order, *, gates=4, size=21, p=P, seed=1, key=2, layer=0, direction=0, dtype=np.float64):
    """(B,gates,size) as those of a layer whose ranks have this order."""
    cell = SimpleNamespace(recurrent_gates=range(gates), is_masked=True)
    found = Masks(cell, np.array(order), size, np.dtype(dtype))
    found.draw(cpu.RecurrentDropout.of(p, seed, key).at(layer, direction))
    return found.array.reshape(len(order), gates, -1)[..., :size].copy()


def test_mean_and_scale():
    for p, dtype in ((0.01, np.float64), (0.5, np.float32), (0.9, np.float64)):
        found = masks(range(200), size=50, p=p, dtype=dtype)
        assert np.unique(found).tolist() == [0, dtype(1 / (1 - p))]
        for axis in range(3):  # no sequence, gate or unit is favoured
            others = tuple(a for a in range(3) if a != axis)
            count = found.size / found.shape[axis]
            assert np.abs((found == 0).mean(axis=others) - p).max() < 5 * np.sqrt(p * (1 - p) / count)


def test_a_mask_belongs_to_its_sequence_gate_and_unit():
    whole = masks(range(7))
    assert np.array_equal(masks([5, 2, 3], gates=3, size=6), whole[[5, 2, 3], :3, :6])
    assert np.array_equal(masks(range(7), dtype=np.float32) == 0, whole == 0)
    assert len({part.tobytes() for part in whole.reshape(28, 21)}) == 28


@pytest.mark.parametrize(
    "other", [{"key": 3}, {"seed": 2}, {"layer": 1}, {"direction": 1}, {"key": 2 + 2**32}], ids=str
)
def test_another_place_has_another_mask(other):
    ours, theirs = masks(range(20)) == 0, masks(range(20), **other) == 0
    assert abs((ours == theirs).mean() - (P**2 + (1 - P) ** 2)) < 5 * 0.5 / np.sqrt(ours.size)  # as by chance


def test_every_direction_of_every_layer_has_its_place(monkeypatch):
    layer, places, draw_them = made("rnn", 3, 5, bidirectional=True, num_layers=2), [], Masks.draw
    monkeypatch.setattr(Masks, "draw", lambda self, dropout: (places.append(dropout), draw_them(self, dropout)))
    y, _, tape = layer.forward(np.ones((2, 3, 3)), rng_key=2)
    ways = [(0, 0), (0, 1), (1, 0), (1, 1)]
    expected = [cpu.RecurrentDropout.of(P, 0, 2).at(*way) for way in ways]
    assert places == expected
    layer.backward(tape, y)
    assert sorted(places[4:]) == sorted(expected)
    assert len(set(places)) == 4


def test_a_part_of_a_batch_has_its_part_of_the_masks():
    layer = made("rnn", 3, 5)
    x = np.random.default_rng(5).standard_normal((6, 4, 3))
    y = layer.forward(x, rng_key=2)[0]
    assert np.array_equal(layer.forward(x[:3], rng_key=2)[0], y[:3])
    assert np.array_equal(layer.forward(x, lengths=[1, 4, 2, 3, 4, 0], rng_key=2)[0][[1, 4]], y[[1, 4]])
    assert np.array_equal(layer.forward(x[0], rng_key=2)[0], y[0])  # one sequence: the first


# ---------------------------------------------------------------------------------------------------------- the layer


@variants
def test_inference_knows_nothing_of_it(variant):
    layer, plain = made(variant, 3, 5), made(variant, 3, 5, recurrent_dropout=0.0)
    x = np.random.default_rng(6).standard_normal((2, 4, 3))
    assert layer._cell is plain._cell
    y, _, tape = layer.forward(x, training=False)
    for found in (y, layer(x)[0]):
        assert found.tobytes() == plain(x)[0].tobytes()
    assert layer.step(x[:, 0])[0].tobytes() == plain.step(x[:, 0])[0].tobytes()
    expected = plain.backward(plain.forward(x)[2], y)
    assert layer.backward(tape, y).params.flat.tobytes() == expected.params.flat.tobytes()
    assert not np.array_equal(layer.forward(x, rng_key=0)[0], y)


def test_options_and_key():
    for kind in (fg.LSTM, fg.GRU, fg.RNN):
        with complaint(ValueError, "recurrent_dropout", "a probability from 0 to below 1", "got 1.0"):
            kind(3, 4, recurrent_dropout=1.0)
        layer = kind(3, 4, recurrent_dropout=0.25)
        assert repr(layer) == f"{kind.__name__}(3, 4, recurrent_dropout=0.25)"
        with complaint(ValueError, "rng_key", "because recurrent_dropout is 0.25", "got None"):
            layer.forward(np.zeros((2, 3, 3)))


def test_it_is_kept_with_the_layer(tmp_path):
    layer = made("lstm_all", 3, 5)
    fg.save(tmp_path / "layer.safetensors", layer)
    for twin in (fg.load(tmp_path / "layer.safetensors"), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer)
        assert results(twin, None) == results(layer, None)
    assert made("lstm", 3, 5, dtype="float32").quantized("int8").recurrent_dropout == P


def test_a_model_is_trained_with_it():
    def trained(seed=0, **options):
        model = fg.Sequential(
            fg.GRU(2, 5, dtype="float64", seed=seed, **options),
            fg.FinalState(),
            fg.Linear(5, 1, dtype="float64", seed=1),
        )
        x = np.random.default_rng(7).standard_normal((12, 4, 2))
        model.fit(x, x[:, -1, :1], loss="mse", optimizer=fg.Adam(1e-2), epochs=2, batch_size=4, seed=0, progress=False)
        return model.params.flat.tobytes()

    assert trained(recurrent_dropout=0.3) == trained(recurrent_dropout=0.3)
    assert trained(recurrent_dropout=0.3) != trained()
