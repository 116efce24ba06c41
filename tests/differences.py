"""Gradients by central differences, for whatever a test calls a loss."""

import numpy as np

# In float64 with a step of 1e-6: truncation 1e-12, rounding 1e-10 of the loss.
STEP, RTOL, ATOL = 1e-6, 1e-6, 1e-8


def differences(loss, array):
    """Gradient of loss() in `array`, which is written and restored entry by entry."""
    gradient = np.empty_like(array)
    for at in np.ndindex(array.shape):
        kept = array[at]
        array[at] = kept + STEP
        above = loss()
        array[at] = kept - STEP
        below = loss()
        array[at] = kept
        gradient[at] = (above - below) / (2 * STEP)
    return gradient


def in_params(params, loss):
    """Gradient of loss() in all parameters: their vector is written and restored."""
    flat = params.flat.copy()

    def written():
        params.flat = flat
        return loss()

    gradient = differences(written, flat)
    params.flat = flat
    return gradient


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, RTOL, ATOL)
