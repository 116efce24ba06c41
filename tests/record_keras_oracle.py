"""Record keras_oracle.npz: what Keras computes, in float64, for the layers whose equations PyTorch does not have.

Needs an environment of its own (recorded with keras 3.15.1, jax 0.10.2), and nothing of fastgate:

    python -m venv keras_env && keras_env/bin/pip install keras jax jaxlib
    keras_env/bin/python tests/record_keras_oracle.py

Weights and gradients are kept as Keras lays them out: (I,G*H), (H,G*H), gates i f c o of an LSTM, z r h of a GRU. Keras
is given the masks of recurrent dropout, (G,B,H) in its order, which are kept too.
"""

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_ENABLE_X64"] = "1"

import jax
import keras
import numpy as np

B, T, I, H = 3, 4, 2, 5
LAYERS = {
    "lstm": (keras.layers.LSTM, {}),
    "gru": (keras.layers.GRU, {"reset_after": True}),
    "gru_reset_before": (keras.layers.GRU, {"reset_after": False}),
}
DROPPING = LAYERS | {"rnn_tanh": (keras.layers.SimpleRNN, {})}
DROPOUT = 0.4


def record(kind, options, rng, dropout=0.0):
    # keras.activations.tanh would round through float32 even in float64.
    options = options | {"return_sequences": True, "return_state": True, "recurrent_dropout": dropout}
    layer = kind(H, dtype="float64", activation=jax.numpy.tanh, **options)
    layer.build((B, T, I))
    weights = [rng.uniform(-0.8, 0.8, variable.shape) for variable in layer.trainable_variables]
    x, dy = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, H))
    start = [rng.uniform(-0.9, 0.9, (B, H)) for _ in range(2 if kind is keras.layers.LSTM else 1)]
    d_end = [rng.standard_normal((B, H)) for _ in start]
    if dropout:
        masks = rng.choice([0, 1 / (1 - dropout)], (weights[1].shape[1] // H, B, H))
        layer.cell.get_recurrent_dropout_mask = lambda _: list(masks) if len(masks) > 1 else masks[0]
    rest = [variable.value for variable in layer.non_trainable_variables]

    def run(x, start, weights):
        (y, *end), _ = layer.stateless_call(weights, rest, x, initial_state=start, training=bool(dropout))
        return y, end

    def loss(*arguments):
        y, end = run(*arguments)
        return (y * dy).sum() + sum((e * d).sum() for e, d in zip(end, d_end, strict=True))

    y, end = run(x, start, weights)
    dx, d_start, d_weights = jax.grad(loss, argnums=(0, 1, 2))(x, start, weights)
    names = [variable.name for variable in layer.trainable_variables]
    assert names == ["kernel", "recurrent_kernel", "bias"], names
    found = {"x": x, "y": y, "dy": dy, "dx": dx} | ({"masks": masks} if dropout else {})
    found |= dict(zip(names, weights, strict=True)) | {f"d{n}": d for n, d in zip(names, d_weights, strict=True)}
    for kept, arrays in (("start", start), ("end", end), ("d_end", d_end), ("d_start", d_start)):
        found[kept] = np.stack([np.asarray(array) for array in arrays])
    assert all(np.asarray(array).dtype == np.float64 for array in found.values())
    return found


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    rng = np.random.default_rng(0)
    arrays = {}
    for name, (kind, options) in LAYERS.items():
        arrays |= {f"{name}/{key}": np.asarray(value) for key, value in record(kind, options, rng).items()}
    for name, (kind, options) in DROPPING.items():
        found = record(kind, options, rng, DROPOUT)
        arrays |= {f"{name}_recurrent_dropout/{key}": np.asarray(value) for key, value in found.items()}
    np.savez_compressed(Path(__file__).with_name("keras_oracle.npz"), **arrays)
