"""Adam and clipping, against plain formulas and PyTorch."""

import numpy as np
import pytest

import fastgate as fg


def two_layers(dtype):
    return [fg.Linear(3, 2, seed=0, dtype=dtype), fg.Embedding(4, 3, seed=1, dtype=dtype)]


def gradients_like(layers, rng, scale=1.0):
    """Any gradients, as `backward` would return them."""
    found = []
    for layer in layers:
        shapes = {name: array.shape for name, array in layer.params.items()}
        flat = (scale * rng.standard_normal(layer.params.flat.size)).astype(layer.dtype)
        found.append(fg.NamedArrays(flat, shapes))
    return found


OPTIONS = [{}, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}, {"betas": (0.0, 0.0)}]
options_given = pytest.mark.parametrize("options", OPTIONS, ids=["defaults", "all", "no memory"])


@options_given
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-14), ("float32", 1e-5)])
def test_adam_is_the_formula(options, dtype, rtol):
    """Kingma and Ba 2015, algorithm 1, one number after the other in float64; roundings of some steps apart."""
    layers, rng = two_layers(dtype), np.random.default_rng(0)
    optimizer = fg.Adam(**options)
    (beta1, beta2), lr, eps = optimizer.betas, optimizer.lr, optimizer.eps
    values = [layer.params.flat.astype(float) for layer in layers]
    m, v = ([np.zeros_like(value) for value in values] for _ in range(2))
    versions = [layer.params.version for layer in layers]
    for t in range(1, 8):
        gradients = gradients_like(layers, rng)
        kept = [gradient.flat.copy() for gradient in gradients]
        optimizer.step([layer.params for layer in layers], gradients)
        for value, mean, square, g in zip(values, m, v, kept, strict=True):
            for i in range(value.size):
                mean[i] = beta1 * mean[i] + (1 - beta1) * float(g[i])
                square[i] = beta2 * square[i] + (1 - beta2) * float(g[i]) ** 2
                value[i] -= lr * (mean[i] / (1 - beta1**t)) / (np.sqrt(square[i] / (1 - beta2**t)) + eps)
        assert all(np.array_equal(g.flat, was) for g, was in zip(gradients, kept, strict=True))
    for layer, value, version in zip(layers, values, versions, strict=True):
        np.testing.assert_allclose(layer.params.flat, value, rtol, rtol)
        assert layer.params.flat.dtype == dtype
        assert layer.params.version == version + 7
    assert optimizer.steps == 7


@options_given
def test_adam_is_that_of_torch(options):
    torch = pytest.importorskip("torch")
    layers, rng, ours = two_layers("float64"), np.random.default_rng(0), fg.Adam(**options)
    tensors = [torch.tensor(layer.params.flat, requires_grad=True) for layer in layers]
    theirs = torch.optim.Adam(tensors, **options)
    for _ in range(10):
        gradients = gradients_like(layers, rng)
        ours.step([layer.params for layer in layers], gradients)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.from_numpy(gradient.flat.copy())
        theirs.step()
    for layer, tensor in zip(layers, tensors, strict=True):
        np.testing.assert_allclose(layer.params.flat, tensor.detach().numpy(), 1e-12, 1e-12)


def test_printed_form_of_adam():
    text = "Adam(lr=0.01, betas=(0.5, 0.9), eps=1e-06)"
    assert repr(eval(f"fg.{text}")) == text


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
