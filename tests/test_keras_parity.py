"""Parity with Keras, whose float64 outputs and gradients `record_keras_oracle.py` has recorded."""

from pathlib import Path

import numpy as np
import pytest
from cases import join, make, split

from fastgate.kernels.cpu.recurrent_dropout import Masks

RECORDED = np.load(Path(__file__).with_name("keras_oracle.npz"))

# Where Keras keeps PyTorch's gates: i f g o in i f c o, and r z n in z r h. Keras' h' = z h + (1-z) hh is ours.
GATES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "gru_reset_before": (1, 0, 2), "rnn_tanh": (0,)}

TOLERANCE = {"rtol": 1e-11, "atol": 1e-12}  # both are float64 throughout


def from_keras(cell, kernel, recurrent_kernel, bias):
    """Keras' arrays, or gradients in them, under our names."""
    first, last = (bias[0], bias[1]) if bias.ndim == 2 else (bias, None)
    arrays = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T, "bias_l0": first}
    if last is not None:  # the second of reset_after=True
        del arrays["bias_l0"]
        arrays |= {"bias_ih_l0": first, "bias_hh_l0": last}
    return {name: _permuted(array, GATES[cell]) for name, array in arrays.items()}


def _permuted(array, gates):
    blocks = np.split(array, len(gates))
    return np.concatenate([blocks[gate] for gate in gates])


def recorded(name):
    return {key.partition("/")[2]: RECORDED[key] for key in RECORDED if key.startswith(f"{name}/")}


@pytest.fixture
def dropped(monkeypatch):
    """Lets recurrent dropout take these masks, (G,B,H), not those it draws."""

    def take(given):
        def draw(self, dropout):
            if dropout is not None:
                assert given.shape == (self.gates, self.order.size, given.shape[2])
                padded = self.array.reshape(len(self.order), self.gates, -1)
                padded[...] = np.nan
                padded[..., : given.shape[2]] = given[:, self.order].swapaxes(0, 1)

        monkeypatch.setattr(Masks, "draw", draw)

    return take


@pytest.mark.parametrize("name", sorted({key.partition("/")[0] for key in RECORDED}))
def test_outputs_and_gradients(name, dropped):
    cell, keras = name.removesuffix("_recurrent_dropout"), recorded(name)
    bias, probability = True if cell == "gru" else "single", 0.0 if name == cell else 0.4
    layer = make(cell, 2, 5, bias=bias, recurrent_dropout=probability)
    if probability:
        dropped(_permuted(keras["masks"], GATES[cell]))
    layer.params.update(from_keras(cell, keras["kernel"], keras["recurrent_kernel"], keras["bias"]))
    start, d_end = [part[None] for part in keras["start"]], [part[None] for part in keras["d_end"]]

    y, end, tape = layer.forward(keras["x"], join(start), rng_key=0)
    np.testing.assert_allclose(y, keras["y"], **TOLERANCE)
    np.testing.assert_allclose(np.concatenate(split(end)), keras["end"], **TOLERANCE)

    gradients = layer.backward(tape, keras["dy"], join(d_end))
    np.testing.assert_allclose(gradients.x, keras["dx"], **TOLERANCE)
    np.testing.assert_allclose(np.concatenate(split(gradients.state)), keras["d_start"], **TOLERANCE)
    expected = from_keras(cell, keras["dkernel"], keras["drecurrent_kernel"], keras["dbias"])
    assert set(expected) == set(gradients.params)
    for name, gradient in gradients.params.items():
        np.testing.assert_allclose(gradient, expected[name], **TOLERANCE, err_msg=name)
