"""Layers with small weights: the same bits as a float32 layer with rounded weights, and how far rounding goes."""

import copy
import pickle

import numpy as np
import pytest
from cases import CELLS, draw, join, make, split
from kernel_tools import run_python
from test_instruction_sets import CPUS, environment_of

import fastgate as fg
from fastgate.kernels import cpu

FORMATS = ["bfloat16", "float16", "int8"]
EXACT = ["bfloat16", "float16"]  # of which a float32 holds every value
# Every pair compiles its kernels: all cells in one format, all formats in one cell, and that with two kinds of panels.
PAIRS = [*((cell, "bfloat16") for cell in CELLS), ("lstm", "float16"), ("lstm", "int8"), ("gru_reset_before", "int8")]
T = 6


def make_pair(cell, weights, I=7, H=21, **options):
    """A quantized layer, and a float32 layer with its rounded parameters."""
    layer = make(cell, I, H, dtype="float32", **options)
    small = layer.quantized(weights)
    twin = make(cell, I, H, dtype="float32", **options)
    twin.params.update(small.params)
    return small, twin


def equal(found, expected):
    for a, b in zip(split(found), split(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def near(found, expected, tolerance):
    for a, b in zip(split(found), split(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("cell", "weights"), [pair for pair in PAIRS if pair[1] in EXACT])
def test_bits_are_those_of_rounded_weights(cell, weights):
    """Odd and even sizes, batches from one row to several tiles, with a start; stepping too."""
    for B, I, H in ((1, 7, 21), (2, 8, 32), (9, 1, 16), (13, 5, 3)):
        small, twin = make_pair(cell, weights, I, H)
        x, start = draw(np.random.default_rng(B), twin, B, T)
        y, end = small(x, join(start))
        expected_y, expected_end = twin(x, join(start))
        equal(y, expected_y)
        equal(end, expected_end)
        state = join(start)
        for t in range(T):
            own_y, state = small.step(x[:, t], state)
            equal(own_y, y[:, t])
        equal(state, end)


@pytest.mark.parametrize(("cell", "weights"), [pair for pair in PAIRS if pair[1] not in EXACT])
def test_integers_are_scaled_once(cell, weights):
    """A sum of integers is scaled at its end, not product by product: a few roundings from the twin, each step."""
    for B, I, H in ((1, 7, 21), (13, 5, 3)):
        small, twin = make_pair(cell, weights, I, H)
        x, start = draw(np.random.default_rng(B), twin, B, T)
        y, end = small(x, join(start))
        expected_y, expected_end = twin(x, join(start))
        near(y, expected_y, 1e-5)
        near(end, expected_end, 1e-5)
        state = join(start)
        for t in range(T):
            own_y, state = small.step(x[:, t], state)
            equal(own_y, y[:, t])
        equal(state, end)


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}, {"batch_first": False}], ids=str)
def test_options(weights, options):
    small, twin = make_pair("lstm", weights, **options)
    x, start = draw(np.random.default_rng(1), twin, 3, T)
    lengths = [4, 0, 6]
    tolerance = 0 if weights in EXACT else 1e-5
    for found, expected in zip(
        small(x, join(start), lengths=lengths), twin(x, join(start), lengths=lengths), strict=True
    ):
        near(found, expected, tolerance)


@pytest.mark.parametrize("weights", FORMATS)
def test_bits_do_not_depend_on_threads_and_parts(weights):
    small, _ = make_pair("lstm", weights, 40, 150)
    x, _ = draw(np.random.default_rng(2), small, 24, 20)
    threads = fg.get_num_threads()
    try:
        fg.set_num_threads(1)
        y, end = small(x)
        fg.set_num_threads(2)
        equal(small(x)[0], y)
    finally:
        fg.set_num_threads(threads)
    for n in (0, 23):
        own_y, own_end = small(x[n : n + 1])
        equal(own_y[0], y[n])
        equal(own_end, join([part[:, n : n + 1] for part in end]))


# ------------------------------------------------------------------------------------------------------------- rounding


@pytest.mark.parametrize("seed", range(3))
def test_how_far_weights_are_rounded(seed):
    """Half a unit of the last place: 8 digits, 11 digits, and half a step of each row's integers."""
    w = np.random.default_rng(seed).standard_normal((30, 57)).astype(np.float32)
    for weights, digits in (("bfloat16", 8), ("float16", 11)):
        error = np.abs(cpu.rounded(w, weights).astype(float) - w)
        smallest = 0 if weights == "bfloat16" else 2.0**-25  # a float16 below 2**-14 has fewer digits
        assert (error <= np.maximum(np.abs(w) * 2.0**-digits, smallest)).all()
        assert error.max() > 2.0 ** -(digits + 2)
    error = np.abs(cpu.rounded(w, "int8").astype(float) - w)
    scale = np.abs(w).max(1, keepdims=True) / 127 * (1 + 2.0**-15)
    assert (error <= scale / 2 * (1 + 1e-6)).all()
    assert len(np.unique(cpu.rounded(w, "int8")[0])) <= 255


def test_ties_are_rounded_to_even():
    ties = np.array([[1 + 2.0**-8, 1 + 3 * 2.0**-8]], np.float32)
    np.testing.assert_array_equal(cpu.rounded(ties, "bfloat16"), [[1, 1 + 2.0**-6]])
    ties = np.array([[1 + 2.0**-11, 1 + 3 * 2.0**-11]], np.float32)
    np.testing.assert_array_equal(cpu.rounded(ties, "float16"), [[1, 1 + 2.0**-9]])
    np.testing.assert_array_equal(cpu.rounded(np.array([[127, 0.5, 1.5, -2.5]], np.float32), "int8"), [[127, 0, 2, -2]])


@pytest.mark.parametrize("weights", FORMATS)
def test_rounding_again_changes_nothing(weights):
    rng = np.random.default_rng(3)
    w = (rng.standard_normal((200, 9)) * 2.0 ** rng.uniform(-140, 10, (200, 1))).astype(np.float32)
    w[:2] = 0
    once = cpu.rounded(w, weights)
    np.testing.assert_array_equal(cpu.rounded(once, weights), once)


@pytest.mark.parametrize(("weights", "bound"), [("bfloat16", 2.0**-9), ("float16", 2.0**-12), ("int8", None)])
def test_accuracy_of_a_layer(weights, bound):
    """The error of y against float32 stays within what rounded weights do to a pre-activation, a few times over.

    Rounding errors are independent: for K weights of rms s and inputs of rms 1 they add up to about sqrt(K) s bound.
    """
    layer = fg.LSTM(64, 64, seed=0)
    x = np.random.default_rng(4).standard_normal((4, 100, 64))
    error = np.abs(layer.quantized(weights)(x)[0] - layer(x)[0]).max()
    largest = 1 / 8  # PyTorch's initial values are uniform in +-1/sqrt(H)
    weight_error = largest / 127 / 2 if bound is None else largest * bound
    assert weight_error / 8 < error < 8 * np.sqrt(128) * weight_error


@pytest.mark.parametrize("cpu_name", CPUS)
def test_lesser_cpus(cpu_name):
    """Where there is no instruction for float16, its bits are taken apart; denormals are exact too."""
    code = """
    import numpy as np, fastgate as fg
    for weights in ("bfloat16", "float16", "int8"):
        layer = fg.RNN(5, 9, seed=0)
        layer.params["weight_ih_l0"] = np.float32(2.0**-16) * layer.params["weight_ih_l0"]
        small, twin = layer.quantized(weights), fg.RNN(5, 9, seed=0)
        twin.params.update(small.params)
        x = np.random.default_rng(0).standard_normal((4, 3, 5)) * 2.0**12
        error = np.abs(small(x)[0] - twin(x)[0]).max()
        assert error <= (1e-5 if weights == "int8" else 0), (weights, error)
    """
    run_python(code, **environment_of(cpu_name))


# ------------------------------------------------------------------------------------------------------------ a layer


@pytest.mark.parametrize("weights", FORMATS)
def test_the_original_is_untouched_and_independent(weights):
    layer = make("lstm", 3, 5, dtype="float32")
    before = layer.params.flat.copy()
    small = layer.quantized(weights)
    y, _ = small(np.ones((1, 2, 3)))
    np.testing.assert_array_equal(layer.params.flat, before)
    layer.params.flat = 0 * before
    equal(small(np.ones((1, 2, 3)))[0], y)


@pytest.mark.parametrize("weights", FORMATS)
def test_copies_and_pickles(weights):
    small = make("lstm", 3, 5, dtype="float32", num_layers=2).quantized(weights)
    x = np.random.default_rng(5).standard_normal((2, 4, 3))
    y, end = small(x)
    for twin in (pickle.loads(pickle.dumps(small)), copy.deepcopy(small), copy.copy(small)):
        assert repr(twin) == repr(small)
        own_y, own_end = twin(x)
        equal(own_y, y)
        equal(own_end, end)
        with pytest.raises(TypeError, match="params"):
            twin.params.flat = twin.params.flat


def test_repr_tells():
    small = fg.GRU(3, 5, reset_after=False, seed=0).quantized("int8")
    assert repr(small) == "GRU(3, 5, reset_after=False).quantized('int8')"
    assert small.weights == "int8"


def test_it_is_for_inference_only():
    small = fg.LSTM(3, 5, seed=0).quantized("int8")
    x = np.ones((1, 2, 3))
    for call in (lambda: small.forward(x), lambda: small.forward(x, training=False), lambda: small.backward(None)):
        with pytest.raises(TypeError, match=r"inference only; train the layer"):
            call()
    with pytest.raises(TypeError, match="inference only"):
        small.quantized("int8")
    with pytest.raises(TypeError, match=r"params: those of LSTM\(3, 5\).quantized\('int8'\) cannot be written"):
        small.params["weight_ih_l0"] = np.zeros((20, 3))
    with pytest.raises(AttributeError, match="weights"):
        small.weights = "float16"
    with pytest.raises(ValueError, match="bidirectional"):
        fg.LSTM(3, 5, seed=0, bidirectional=True).quantized("int8").step(np.ones((1, 3)))


def test_wrong_formats_and_layers():
    layer = fg.LSTM(3, 5, seed=0)
    with pytest.raises(ValueError, match="weights: expected"):
        layer.quantized("int4")
    with pytest.raises(ValueError, match="quantized: expected a layer of dtype float32, got 'float64'"):
        fg.LSTM(3, 5, seed=0, dtype="float64").quantized("int8")


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38])
def test_weights_that_no_format_holds(weights, value):
    """The largest float32 becomes infinite in 16 bits, but has a scale."""
    layer = fg.LSTM(3, 5, seed=0)
    with layer.params.edit() as p:
        p["weight_hh_l0"][2, 3] = value
    if weights == "int8" and value == 3.4e38:
        assert np.isfinite(layer.quantized(weights).params["weight_hh_l0"]).all()
        return
    with pytest.raises(
        ValueError, match=r"params\['weight_hh_l0'\] holds values that are not finite, or would not be in"
    ):
        layer.quantized(weights)


@pytest.mark.parametrize("weights", ["bfloat16", "float16", "int8"])
def test_any_nan_is_refused(weights):
    """Also one whose bits, rounded like a number, would wrap around to zero."""
    layer = fg.LSTM(3, 4, seed=0)
    with layer.params.edit() as p:
        p["weight_hh_l0"].reshape(-1).view(np.uint32)[5] = 0xFFFFFFFF
    with pytest.raises(ValueError, match="weight_hh_l0"):
        layer.quantized(weights)
