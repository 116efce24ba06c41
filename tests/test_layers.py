"""Linear, Embedding, losses and optimizers, against plain formulas, differences and PyTorch."""

import numpy as np
import pytest
from differences import differences

import fastgate as fg

rng = np.random.default_rng(0)
RTOL, ATOL = 1e-7, 1e-8  # of central differences
EPSILON = {"float32": 6e-8, "float64": 1.2e-16}  # half an ulp of 1
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def in_parameter(layer, name, loss):
    """Gradient of loss() in a parameter."""
    value = layer.params[name].copy()

    def written():
        layer.params[name] = value
        return loss()

    gradient = differences(written, value)
    layer.params[name] = value
    return gradient


# --------------------------------------------------------------------------------------------------------- Linear


@dtypes
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outer", [(), (0,), (1,), (13,), (2, 3), (2, 0, 3), (2, 1, 2, 3)], ids=str)
@pytest.mark.parametrize(("K", "N"), [(1, 1), (5, 3), (17, 32)])
def test_linear_values(outer, K, N, bias, dtype):
    layer = fg.Linear(K, N, bias=bias, seed=0, dtype=dtype)
    x = rng.standard_normal((*outer, K)).astype(dtype)
    W = layer.params["weight"].astype(np.longdouble)
    b = layer.params["bias"].astype(np.longdouble) if bias else np.zeros(N)
    y = layer(x)
    assert y.shape == (*outer, N)
    assert y.dtype == dtype
    # A sum of K products and b, each at most 5 in size, added one after the other.
    assert np.abs(y - (x @ W.T + b)).max(initial=0) <= (K + 1) * 5 * EPSILON[dtype]
    y_kept, tape = layer.forward(x)
    assert np.array_equal(y_kept, y)

    dy = rng.standard_normal(y.shape).astype(dtype)
    gradients = layer.backward(tape, dy)
    rows, d_rows = x.reshape(-1, K).astype(np.longdouble), dy.reshape(-1, N).astype(np.longdouble)
    count = len(rows) + N + 1
    assert gradients.x.shape == x.shape
    assert np.abs(gradients.x - dy @ W).max(initial=0) <= count * 25 * EPSILON[dtype]
    assert np.abs(gradients.params["weight"] - d_rows.T @ rows).max() <= count * 25 * EPSILON[dtype]
    if bias:
        assert np.abs(gradients.params["bias"] - d_rows.sum(axis=0)).max() <= count * 25 * EPSILON[dtype]
    assert list(gradients.params) == list(layer.params)
    assert gradients.x.dtype == gradients.params.flat.dtype == dtype


@pytest.mark.parametrize("bias", [True, False])
def test_linear_gradients(bias):
    layer = fg.Linear(3, 2, bias=bias, dtype="float64", seed=0)
    x, dy = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 2))
    gradients = layer.backward(layer.forward(x)[1], dy)

    def loss():
        return float((layer(x) * dy).sum())

    np.testing.assert_allclose(gradients.x, differences(loss, x), RTOL, ATOL)
    for name in layer.params:
        np.testing.assert_allclose(gradients.params[name], in_parameter(layer, name, loss), RTOL, ATOL)


def test_linear_twice_on_one_tape():
    layer = fg.Linear(3, 2, seed=0)
    y, tape = layer.forward(rng.standard_normal((5, 3)))
    first, second = layer.backward(tape, y), layer.backward(tape, y)
    assert np.array_equal(first.x, second.x)
    assert np.array_equal(first.params.flat, second.params.flat)
    assert not np.shares_memory(first.params.flat, second.params.flat)


# ------------------------------------------------------------------------------------------------------ Embedding


@dtypes
@pytest.mark.parametrize("outer", [(), (0,), (4,), (2, 3), (2, 0)], ids=str)
@pytest.mark.parametrize("kind", ["int64", "uint8", ">i2"])
def test_embedding_values(outer, kind, dtype):
    layer = fg.Embedding(6, 3, seed=0, dtype=dtype)
    ids = rng.integers(0, 6, outer).astype(kind)
    y, tape = layer.forward(ids)
    assert y.shape == (*outer, 3)
    assert y.dtype == dtype
    assert np.array_equal(layer(ids), y)
    assert np.array_equal(layer(ids.tolist()), y)
    for at in np.ndindex(*outer):
        assert np.array_equal(y[at], layer.params["weight"][int(ids[at])])
    y[...] = 7  # a fresh array, not the table
    assert not (layer.params["weight"] == 7).any()

    gradients = layer.backward(tape, np.ones(y.shape))
    assert gradients.x is None
    count = np.bincount(ids.reshape(-1).astype(int), minlength=6)
    assert np.array_equal(gradients.params["weight"], np.repeat(count[:, None], 3, axis=1))
    assert gradients.params["weight"].dtype == dtype


def test_embedding_initializers():
    normal, uniform = (fg.Embedding(100, 50, seed=0, init=init).params["weight"] for init in ("pytorch", "keras"))
    assert abs(normal.mean()) < 0.05  # three and a half standard deviations
    assert abs(normal.std() - 1) < 0.04
    assert 0.049 < np.abs(uniform).max() <= 0.05
    assert abs(uniform.std() - 0.05 / np.sqrt(3)) < 0.001
    with pytest.raises(ValueError, match="init"):
        fg.Embedding(3, 2, init="zeros")


def test_embedding_gradients_of_repeated_ids():
    layer, ids = fg.Embedding(4, 2, seed=0, dtype="float64"), [[1, 3, 1], [1, 0, 3]]
    dy = rng.standard_normal((2, 3, 2))
    gradients = layer.backward(layer.forward(ids)[1], dy)
    expected = in_parameter(layer, "weight", lambda: float((layer(ids) * dy).sum()))
    np.testing.assert_allclose(gradients.params["weight"], expected, RTOL, ATOL)
    assert not gradients.params["weight"][2].any()


# --------------------------------------------------------------------------------------------------------- losses


@dtypes
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 3, 4)], ids=str)
def test_mse(shape, dtype):
    y, target = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    loss, dy = fg.mse(y, target)
    exact = y.astype(np.longdouble) - target
    assert type(loss) is float
    assert loss == pytest.approx(float((exact**2).mean()), rel=4 * EPSILON[dtype])
    assert dy.shape == shape
    assert dy.dtype == dtype
    np.testing.assert_allclose(dy, np.asarray(2 * exact / y.size, float), 4 * EPSILON[dtype])
    assert fg.mse(y.tolist(), target.tolist())[1].dtype == np.float64


def test_mse_gradient():
    y, target = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    np.testing.assert_allclose(fg.mse(y, target)[1], differences(lambda: fg.mse(y, target)[0], y), RTOL, ATOL)


@dtypes
@pytest.mark.parametrize("outer", [(), (1,), (5,), (2, 3)], ids=str)
def test_cross_entropy(outer, dtype):
    logits, target = (3 * rng.standard_normal((*outer, 4))).astype(dtype), rng.integers(0, 4, outer)
    before = logits.copy()
    loss, gradient = fg.cross_entropy(logits, target)
    odds = np.exp(logits.astype(np.longdouble))
    probability = odds / odds.sum(axis=-1, keepdims=True)
    chosen = np.eye(4)[target]
    assert type(loss) is float
    # Roundings of numbers up to about 10.
    assert abs(loss - float(-np.log((probability * chosen).sum(axis=-1)).mean())) < 40 * EPSILON[dtype]
    assert gradient.dtype == dtype
    assert np.abs(gradient - (probability - chosen) / max(1, target.size)).max() < 40 * EPSILON[dtype]
    assert np.array_equal(logits, before)


def test_cross_entropy_gradient():
    logits, target = rng.standard_normal((2, 3, 4)), rng.integers(0, 4, (2, 3))
    expected = differences(lambda: fg.cross_entropy(logits, target)[0], logits)
    np.testing.assert_allclose(fg.cross_entropy(logits, target)[1], expected, RTOL, ATOL)


@dtypes
def test_huge_logits(dtype):
    large = float(np.finfo(dtype).max) / 4
    logits = np.array([[large, 0, -large], [-large, -large, -large], [1000, 999, 0], [-1000, -1001, -9000]], dtype)
    loss, gradient = fg.cross_entropy(logits[:1], [0])
    assert loss == 0
    assert gradient.tolist() == [[0, 0, 0]]
    assert fg.cross_entropy(logits[:1], [1])[0] == large
    assert fg.cross_entropy(logits[1:2], [2])[0] == pytest.approx(np.log(3), rel=1e-6)
    assert fg.cross_entropy(logits[2:3], [1])[0] == pytest.approx(np.log1p(np.e), rel=1e-6)
    assert fg.cross_entropy(logits[3:], [1])[0] == pytest.approx(np.log1p(np.e), rel=1e-6)
    assert np.isfinite(fg.cross_entropy(logits, [0, 0, 0, 0])[1]).all()


def test_small_probabilities_keep_their_digits():
    loss, gradient = fg.cross_entropy(np.array([[40.0, 0.0]]), [0])
    assert gradient[0, 1] == pytest.approx(np.exp(-40), rel=1e-12)
    assert loss == pytest.approx(np.exp(-40), rel=1e-12)


@pytest.mark.parametrize("words", [["a", "b"], np.array(["a", "b"], object), b"a"])
def test_embedding_takes_no_words(words):
    with pytest.raises(TypeError, match="x: expected integers, got strings; give each word a number"):
        fg.Embedding(5, 3)(words)
