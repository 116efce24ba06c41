"""Tensor cores round what they multiply as `precision` says, and nothing else: the kernels give the model's numbers."""

import numpy as np
import pytest
from recurrence import Recurrence, Sizes
from rounded_lstm import OF_GRADIENTS, lstm

pytest.importorskip("greenlet", reason="the simulator of many blocks needs greenlet")

from test_persistent import FOR_TENSOR_CORES, on

from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("precision", ["high", "medium", "bfloat16", "float16"])
def test_kernels_round_as_the_model(precision, together):
    case = Recurrence("lstm", Sizes(T=2, B=3, H=16, I=2), seed=1)
    block = FOR_TENSOR_CORES._replace(together=together)
    assert case.run_forward(make_forward, block, on(0), precision=precision) == 0
    assert case.run_backward(make_backward, block, on(1), precision=OF_GRADIENTS.get(precision, precision)) == 0
    T, B, H = 2, 3, 16

    def model(own):
        """The input's products are not those of these kernels: all that they give is the bias of each step."""
        W_ih, W_hh, b_ih, b_hh = (np.moveaxis(part, 0, 1).reshape(4 * H, -1) for part in case.weights(0))
        xw = (case.x.astype("float64").reshape(T * B, -1) @ W_ih.T).reshape(T, B, 4 * H).astype("float32")
        first = case.start[0][0], case.start[1][0]
        return lstm(xw, *first, None, W_hh, (b_ih + b_hh).ravel(), case.dy, *(d[0] for d in case.dlast), own)

    found = np.moveaxis(case.found_y[..., 1:], 0, 1), np.moveaxis(case.da[0], 3, 2).reshape(T, B, 4 * H)
    near, exact = model(precision), model("highest")
    for own, expected, truth in zip(found, near, exact, strict=False):
        size, off = np.abs(truth).max(), np.abs(expected - truth).max()
        assert np.abs(own - expected).max() < 2e-6 * size
        assert precision == "high" or off > 2e-5 * size
