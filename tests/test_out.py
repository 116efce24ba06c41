"""y written into an array of the caller's, and nothing allocated in the steady state."""

import tracemalloc

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg
from fastgate.kernels import memory

B, T, I, H = 3, 5, 4, 6
X = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)


@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["full", "ragged"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
def test_it_is_what_is_returned_otherwise(lengths, options):
    layer = fg.GRU(I, H, seed=0, **options)
    expected, state = layer(X, lengths=lengths)
    out = np.full_like(expected, np.nan)
    y, end = layer(X, lengths=lengths, out=out)
    assert y is out
    assert y.tobytes() == expected.tobytes()
    assert end.tobytes() == state.tobytes()


def test_unbatched_and_time_first():
    layer = fg.RNN(I, H, seed=0, batch_first=False)
    out = np.empty((T, B, H), np.float32)
    assert layer(X.swapaxes(0, 1), out=out)[0] is out
    single = np.empty((T, H), np.float32)
    layer(X[0], out=single)
    assert np.array_equal(single, out[:, 0])


def test_what_it_must_be():
    layer, good = fg.LSTM(I, I, seed=0), np.empty((B, T, I), np.float32)
    for bad in (None.__class__, [0.0], good.astype(float), good.swapaxes(0, 1), good[:, ::2], good[..., ::2]):
        with complaint(TypeError, "out", "writable C-contiguous", "float32"):
            layer(X, out=bad)
    locked = good.copy()
    locked.flags.writeable = False
    with complaint(TypeError, "out", "writable"):
        layer(X, out=locked)
    with complaint(ValueError, "out", str((B, T, I)), str((T, B, I))):
        layer(X, out=np.empty((T, B, I), np.float32))
    x = X.copy()
    with complaint(ValueError, "out", "shares memory with x"):
        layer(x, out=x)
    assert np.array_equal(x, X)
    memory = np.zeros((B, T, I), np.float32)
    state = memory.reshape(-1)[: 2 * B * I].reshape(2, 1, B, I)
    for pair in ((state[0], np.zeros((1, B, I))), (np.zeros((1, B, I)), state[1])):
        with complaint(ValueError, "out", "shares memory with state"):
            layer(X, pair, out=memory)


def test_nothing_is_allocated_but_the_state():
    """Neither scratch memory nor y: after the first calls, the memory of Python and NumPy stays what it is."""
    for number in range(257):  # what this thread keeps is used up by others
        memory.scratch(("another", number), (1 << 18,), np.dtype(np.uint8))
    layer, x = fg.LSTM(64, 128, 2, seed=0), np.ones((16, 40, 64), np.float32)
    out = np.empty((16, 40, 128), np.float32)
    _, state = layer(x, out=out)
    layer(x, state, out=out)
    peaks = []
    for _ in range(3):  # the least: other threads of this process may allocate meanwhile
        tracemalloc.start()
        try:
            _, state = layer(x, state, out=out)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    peak = min(peaks)
    assert peak < 2 * (state[0].nbytes + state[1].nbytes)
    assert peak < out.nbytes / 4
