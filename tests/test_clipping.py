"""Clipping, against plain formulas."""

import numpy as np
import pytest
from complaints import complaint
from training_cases import gradients_like, two_layers

import fastgate as fg


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping(dtype):
    layers, rng = two_layers(dtype), np.random.default_rng(0)
    gradients = gradients_like(layers, rng)
    before = np.concatenate([gradient.flat for gradient in gradients])
    norm = np.linalg.norm(before.astype(float))
    arrays = [gradient.flat for gradient in gradients]
    assert fg.clip_gradient_norm(gradients, norm * 1.01) == pytest.approx(norm, rel=1e-6)
    assert np.array_equal(np.concatenate([gradient.flat for gradient in gradients]), before)
    assert fg.clip_gradient_norm(gradients, norm / 4) == pytest.approx(norm, rel=1e-6)
    assert all(gradient.flat is array for gradient, array in zip(gradients, arrays, strict=True))
    np.testing.assert_allclose(np.concatenate(arrays), before / 4, 1e-6)
    assert np.linalg.norm(gradients[0]["weight"]) == pytest.approx(np.linalg.norm(before[:6]) / 4, rel=1e-6)


def test_clipping_nothing():
    assert fg.clip_gradient_norm([], 1.0) == 0.0
    gradients = gradients_like(two_layers("float32"), np.random.default_rng(0), scale=0.0)
    assert fg.clip_gradient_norm(gradients, 1.0) == 0.0
    assert not gradients[0].flat.any()


def test_clipping_gradients_whose_squares_overflow():
    """Exploding gradients are what clipping is for: finite ones keep their direction."""
    gradients = gradients_like(two_layers("float32"), np.random.default_rng(0), scale=1e25)
    before = np.concatenate([gradient.flat for gradient in gradients]).astype(float)
    norm = np.linalg.norm(before)
    assert fg.clip_gradient_norm(gradients, 1.0) == pytest.approx(norm, rel=1e-6)
    np.testing.assert_allclose(np.concatenate([gradient.flat for gradient in gradients]), before / norm, 1e-5)


def test_clipping_to_a_norm_that_is_not_finite_leaves_finite_gradients():
    gradients = gradients_like(two_layers("float32"), np.random.default_rng(0))
    before = gradients[0].flat.copy()
    fg.clip_gradient_norm(gradients, float("inf"))
    assert np.array_equal(gradients[0].flat, before)


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e-30), ("float64", 1e-250), ("float64", 1e250)])
def test_norms_whose_squares_leave_the_range(dtype, scale):
    gradients = gradients_like(two_layers(dtype), np.random.default_rng(0), scale)
    flat = np.concatenate([gradient.flat for gradient in gradients]).astype(float)
    assert fg.clip_gradient_norm(gradients, 1e300) == pytest.approx(
        scale * np.linalg.norm(flat / scale), rel=1e-6, abs=0
    )


def test_clipping_by_value():
    gradients = gradients_like(two_layers("float32"), np.random.default_rng(0))
    gradients[0].flat[:3] = [np.nan, np.inf, -np.inf]
    before = [gradient.flat.copy() for gradient in gradients]
    assert fg.clip_gradient_value(gradients, 0.3) is None
    for gradient, was in zip(gradients, before, strict=True):
        assert np.array_equal(gradient.flat, np.clip(was, -np.float32(0.3), np.float32(0.3)), equal_nan=True)
    assert np.isnan(gradients[0].flat[0])
    for value in (0, -1, None, np.nan):
        with pytest.raises((TypeError, ValueError), match=r"^max_value: expected"):
            fg.clip_gradient_value(gradients, value)
    with complaint(TypeError, "gradients", "a list of the .params"):
        fg.clip_gradient_value(gradients[0], 1.0)
