"""Layers, gradients and steps for the tests of what trains, made from seeds."""

import numpy as np

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


def train(optimizer, layers, seed=0, steps=25):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        optimizer.step([layer.params for layer in layers], gradients_like(layers, rng))
    return np.concatenate([layer.params.flat for layer in layers])
