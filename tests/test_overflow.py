"""Values too large for a layer's dtype: a finite number never becomes infinite unnoticed, where it is read."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg
from fastgate.activation import FUNCTIONS

B, T, I, H = 2, 5, 3, 4
ACTIVATIONS = [fg.Activation(name) for name in FUNCTIONS]
LSTM = fg.LSTM(I, H, num_layers=2, seed=1)
rng = np.random.default_rng(0)
X = rng.standard_normal((B, T, I)).astype(np.float32)
DY = rng.standard_normal((B, T, H)).astype(np.float32)


def test_finite_values_that_would_become_infinite():
    tape, huge = LSTM.forward(X, lengths=[T, 2])[2], 1e300
    with complaint(ValueError, "x", "finite", "infinite in float32"):
        LSTM(np.full(X.shape, huge))
    with complaint(ValueError, "x", "finite", "infinite in float32"):
        LSTM.step(np.full((B, I), -huge))
    for which, argument in enumerate(("[0] (h)", "[1] (c)")):
        pair = [np.zeros((2, B, H)), np.zeros((2, B, H))]
        pair[which][1, 1, 1] = huge
        with complaint(ValueError, "state" + argument, "infinite in float32"):
            LSTM(X, tuple(pair))
        with complaint(ValueError, "dstate" + argument, "infinite in float32"):
            LSTM.backward(tape, dstate=tuple(pair))
    dy = DY.astype(float)
    dy[1, 1, 0] = huge
    with complaint(ValueError, "dy", "infinite in float32"):
        LSTM.backward(tape, dy)
    with complaint(ValueError, "params['bias_hh_l1']", "infinite in float32"):
        LSTM.params["bias_hh_l1"] = np.full(4 * H, huge)
    with complaint(ValueError, "params.flat", "infinite in float32"):
        LSTM.params.flat = np.full(LSTM.params.flat.size, huge)


def test_infinite_and_nan_input_is_no_error():
    for value in (np.inf, -np.inf, np.nan):
        x = X.astype(float)
        x[0, 0, 0] = value
        LSTM(x)


@pytest.mark.parametrize("batch_first", [True, False])
def test_overflow_beyond_the_length_is_no_error(batch_first):
    turned = (lambda a: a) if batch_first else (lambda a: np.ascontiguousarray(np.swapaxes(a, 0, 1)))
    layer = fg.LSTM(I, H, batch_first=batch_first, seed=0)
    x, dy = X.astype(float), DY.astype(float)
    x[1, 2:], dy[1, 2:] = 1e300, -1e300
    y, _, tape = layer.forward(turned(x), lengths=[T, 2])
    assert np.array_equal(y, layer(turned(X), lengths=[T, 2])[0])
    gradients, clean = layer.backward(tape, turned(dy)), layer.backward(tape, turned(DY))
    assert np.array_equal(gradients.params.flat, clean.params.flat)
    x[1, 1, 0] = 1e300
    with complaint(ValueError, "x", "infinite in float32"):
        layer(turned(x), lengths=[T, 2])


@pytest.mark.parametrize("layer", [*ACTIVATIONS, fg.LayerNorm(6)], ids=repr)
def test_layers_without_kernels_say_nothing_of_overflow(layer):
    """Neither do those with kernels; and warnings are errors here."""
    x = np.array([1e30, -1e30, np.inf, -np.inf, np.nan, 1.0], np.float32)
    for own in (x, x[:2].repeat(3), np.full(6, np.finfo(np.float32).max)):
        _, tape = layer.forward(own)
        layer.backward(tape, np.full(6, 1e30))
        layer(own)
