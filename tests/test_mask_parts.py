"""Masking, RepeatPast, Reverse, MergeDirections, and what Dropout and Embedding have for masks, each by itself."""

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences

import fastgate as fg

rng = np.random.default_rng(0)
B, T, F = 3, 5, 4
MASK = np.array([[0, 1, 0, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
X = rng.standard_normal((B, T, F))


def gradient(layer, x, **options):
    """That of backward, which differences confirm."""
    y, tape = layer.forward(x, **options)
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(tape, dy).x
    assert_close(dx, differences(lambda: float((layer.forward(x, **options)[0] * dy).sum()), x))
    assert not np.shares_memory(dx, dy)
    assert y.dtype == x.dtype
    assert layer.forward(x.astype(np.float32), **options)[0].dtype == np.float32
    return dx


def turned(array):
    """Time first."""
    return np.ascontiguousarray(array.swapaxes(0, 1))


# ----------------------------------------------------------------------------------------------------- RepeatPast


def test_repeat_past():
    y = fg.RepeatPast()(X, mask=MASK)
    expected = np.zeros_like(X)
    expected[0, 1:4], expected[0, 4], expected[1] = X[0, 1], X[0, 4], X[1, [0, 1, 2, 2, 2]]
    assert np.array_equal(y, expected)
    assert np.array_equal(fg.RepeatPast(batch_first=False)(turned(X), mask=MASK.T), turned(expected))
    assert np.array_equal(fg.RepeatPast()(X[0], mask=MASK[0]), expected[0])
    assert np.array_equal(fg.RepeatPast()(np.where(MASK[..., None], X, np.nan), mask=MASK), expected)
    assert np.array_equal(fg.RepeatPast()(X), X)


@pytest.mark.parametrize("mask", [None, MASK], ids=["without", "mask"])
def test_gradients_of_repeat_past(mask):
    dx = gradient(fg.RepeatPast(), X.copy(), mask=mask)
    assert mask is None or not dx[~mask].any()
    gradient(fg.RepeatPast(batch_first=False), turned(X), mask=None if mask is None else mask.T)
    gradient(fg.RepeatPast(), X[0].copy(), mask=None if mask is None else mask[0])


@pytest.mark.parametrize("shape", [(0, 4, 2), (3, 0, 2), (3, 4, 0)], ids=str)
def test_nothing_at_all(shape):
    for layer, options in ((fg.RepeatPast(), {"mask": np.zeros(shape[:2], bool)}), (fg.Reverse(), {})):
        y, tape = layer.forward(np.ones(shape), **options)
        assert y.shape == layer.backward(tape, y).x.shape == shape


# -------------------------------------------------------------------------------------- Reverse and MergeDirections


def test_reverse():
    assert np.array_equal(fg.Reverse()(X), X[:, ::-1])
    assert np.array_equal(fg.Reverse(batch_first=False)(X), X[::-1])
    assert np.array_equal(fg.Reverse()(X[0]), X[0, ::-1])
    assert np.array_equal(fg.Reverse().compute_mask(X, MASK), MASK[:, ::-1])
    assert np.array_equal(fg.Reverse(batch_first=False).compute_mask(turned(X), MASK.T), MASK.T[::-1])
    assert fg.Reverse().compute_mask(X) is None
    gradient(fg.Reverse(), X.copy())
    gradient(fg.Reverse(batch_first=False), X.copy())


@pytest.mark.parametrize(
    ("mode", "merged"), [("sum", lambda a, b: a + b), ("mul", lambda a, b: a * b), ("ave", lambda a, b: (a + b) / 2)]
)
def test_merge_directions(mode, merged):
    layer = fg.MergeDirections(mode)
    assert np.array_equal(layer(X), merged(X[..., :2], X[..., 2:]))
    gradient(layer, X.copy())
    gradient(layer, X[0, 0].copy())


# --------------------------------------------------------------------------------------------- Masking and Embedding


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_masking(value):
    x = X.copy()
    x[~MASK] = value
    x[0, 1, 0] = value  # one feature alone is no padding
    layer = fg.Masking(value)
    assert np.array_equal(layer.compute_mask(x), MASK)
    assert np.array_equal(layer.compute_mask(x, MASK[:, ::-1]), MASK & MASK[:, ::-1])
    y, tape = layer.forward(x)
    assert np.array_equal(y, np.where(MASK[..., None], x, 0))
    assert np.array_equal(y, layer(x))
    dy = np.where(MASK[..., None], X, np.nan)
    assert np.array_equal(layer.backward(tape, dy).x, np.where(MASK[..., None], X, 0))


def test_masking_compares_in_float32():
    assert fg.Masking(0.1).compute_mask(np.full((2, 3), 0.1, np.float32)).tolist() == [False, False]
    assert fg.Masking(1e300).compute_mask(np.ones((2, 3), np.float32)).all()  # and no warning


def test_embedding_of_padding():
    ids, layer = np.where(MASK, 3, 0), fg.Embedding(5, 2, mask_zero=True, seed=0)
    assert np.array_equal(layer.compute_mask(ids), MASK)
    assert np.array_equal(layer.compute_mask(ids, MASK[:, ::-1]), MASK & MASK[:, ::-1])
    assert fg.Embedding(5, 2).compute_mask(ids) is None
    assert np.array_equal(layer(ids), fg.Embedding(5, 2, seed=0)(ids))


# ------------------------------------------------------------------------------------------------------- Dropout


def test_dropout_that_is_the_same_at_every_step():
    layer, x = fg.Dropout(0.5, seed=1, same_every_step=True), np.ones((20, 6, 30), np.float32)
    y, _ = layer.forward(x, rng_key=3)
    assert (y == y[:, :1]).all()
    assert np.unique(y).tolist() == [0, 2]
    assert abs((y[:, 0] == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(600)  # five deviations; this seed is fixed
    assert len({row.tobytes() for row in y[:, 0]}) == 20
    turned_layer = fg.Dropout(0.5, seed=1, same_every_step=True, batch_first=False)
    assert np.array_equal(turned_layer.forward(turned(x), rng_key=3)[0], turned(y))
    assert np.array_equal(layer.forward(x[0], rng_key=3)[0], y[0])
    assert np.array_equal(layer(x), x)
    gradient(layer, X.copy(), rng_key=2)
    nothing = layer.forward(np.full((2, 3, 50), np.nan), rng_key=0)[0]
    assert 0 < (nothing == 0).sum() < nothing.size


# ----------------------------------------------------------------------------------------------------- all of them

PARTS = {
    "RepeatPast(batch_first=False)": fg.RepeatPast(False),
    "Reverse()": fg.Reverse(),
    "MergeDirections('ave')": fg.MergeDirections("ave"),
    "Masking(-1.5)": fg.Masking(-1.5),
    "Dropout(0.5, same_every_step=True)": fg.Dropout(0.5, seed=3, same_every_step=True),
    "Embedding(4, 2, mask_zero=True)": fg.Embedding(4, 2, seed=0, mask_zero=True),
}


@pytest.mark.parametrize("text", PARTS)
def test_configurations(text):
    assert repr(PARTS[text]) == text
    assert fg.from_config(PARTS[text].config()).config() == PARTS[text].config()


def test_complaints():
    with complaint(TypeError, "value", "a number"):
        fg.Masking("0")
    with complaint(ValueError, "value", "finite"):
        fg.Masking(np.nan)
    with complaint(TypeError, "x", "integers of shape (2, 3)", "mask_zero=True", "x.astype('float32')"):
        fg.Masking()([[1, 2, 0], [3, 0, 0]])
    assert fg.Masking()([[[1, 2], [0, 0]]]).dtype == np.float64
    with complaint(ValueError, "mode", "'ave'", "concat"):
        fg.MergeDirections("concat")
    with complaint(ValueError, "x", "2 * features", "(3, 5)"):
        fg.MergeDirections("sum")(np.ones((3, 5)))
    with complaint(ValueError, "x", "(batch, time, features)", "(3,)"):
        fg.Reverse()(np.ones(3))
    with complaint(ValueError, "x", "(time, batch, features)", "(3,)"):
        fg.Dropout(same_every_step=True, batch_first=False).forward(np.ones(3), rng_key=0)
    with complaint(ValueError, "mask", "(3, 5)", "(5, 3)"):
        fg.RepeatPast()(X, mask=MASK.T)
    with complaint(TypeError, "mask", "booleans", "float64"):
        fg.RepeatPast()(X, mask=MASK * 1.0)
    for layer in (fg.RepeatPast(), fg.Reverse(), fg.MergeDirections("sum"), fg.Masking()):
        y, tape = layer.forward(X)
        with complaint(ValueError, "dy", str(y.shape)):
            layer.backward(tape, y[:, 1:])
        with complaint(ValueError, "tape", "another layer"):
            type(layer)(*layer.config().get("mode", "").split()).backward(tape, y)
