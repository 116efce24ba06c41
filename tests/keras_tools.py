"""Models of Keras with weights of any kind, and their outputs as arrays."""

import numpy as np

IDS = np.array([[0, 0, 1, 2, 3, 0, 5], [1, 2, 3, 4, 0, 0, 0], [5, 6, 7, 0, 8, 9, 1], [0, 0, 0, 0, 0, 0, 0]])


def drawn(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_weights(model, seed=0):
    """Not those of the initializers, of which biases are zero."""
    model.set_weights([0.5 * drawn(own.shape, seed=seed + n) for n, own in enumerate(model.get_weights())])
    return model


def output(model, x):
    return model(x).detach().cpu().numpy()


def same_weights(model, other):
    """To the last bit."""
    ours, theirs = model.get_weights(), other.get_weights()
    return len(ours) == len(theirs) and all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


def close(found, expected, dtype):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype == dtype
    assert found.shape == expected.shape
    bound = {"float32": 1e-6, "float64": 1e-12}[dtype]
    assert abs(found - expected).max() <= bound * max(1, abs(expected).max())
