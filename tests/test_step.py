"""One step from Python: whatever is passed, from any number of threads, kernels read only what they were made for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastgate as fg

B, T, I, H = 4, 20, 3, 17


def steps(layer, x):
    state, outputs = None, []
    for t in range(T):
        y, state = layer.step(x[:, t], state)
        outputs.append(y)
    return np.stack(outputs, 1)


def signatures(layer):
    kernel, _ = layer._cell.step_for(layer.dtype, layer.dtype)
    return kernel.signatures


@pytest.mark.parametrize("make", [fg.LSTM, fg.GRU])
def test_slices_of_a_batch_from_many_threads(make):
    """x[:, t] is not contiguous and takes the slow way, while other threads are on the fast one."""
    layer, x = make(I, H, seed=0), np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
    expected = layer(x)[0]
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: steps(layer, x), range(60)):
            np.testing.assert_array_equal(y, expected)
    assert len(signatures(layer)) == 1


def arrays_like(x):
    yield "Fortran order", np.asfortranarray(x)
    yield "reversed", np.ascontiguousarray(x[::-1])[::-1]
    yield "another dtype", x.astype(np.float64)
    yield "read-only", np.broadcast_to(x, x.shape)
    yield "unaligned", np.frombuffer(b"." + x.tobytes(), np.float32, offset=1).reshape(x.shape)


@pytest.mark.parametrize("what", ["x", "h", "c"])
def test_any_layout_gives_the_same_and_compiles_nothing(what):
    layer = fg.LSTM(I, H, seed=0)
    rng = np.random.default_rng(0)
    given = {"x": rng.standard_normal((B, I)), "h": rng.standard_normal((1, B, H)), "c": rng.standard_normal((1, B, H))}
    given = {name: array.astype(np.float32) for name, array in given.items()}
    expected, state = layer.step(given["x"], (given["h"], given["c"]))
    for layout, array in arrays_like(given[what]):
        own = given | {what: array}
        y, (h, c) = layer.step(own["x"], (own["h"], own["c"]))
        np.testing.assert_array_equal(y, expected, err_msg=layout)
        np.testing.assert_array_equal(h, state[0], err_msg=layout)
        np.testing.assert_array_equal(c, state[1], err_msg=layout)
    assert len(signatures(layer)) == 1


def test_batches_of_changing_size_and_parameters_that_change():
    layer, other = fg.GRU(I, H, seed=0), fg.GRU(I, H, seed=1)
    x = np.random.default_rng(0).standard_normal((5, I)).astype(np.float32)
    for size in (5, 1, 0, 3, 3, 5):
        np.testing.assert_array_equal(layer.step(x[:size])[0], layer(x[:size, None])[0][:, 0])
    layer.step(x)
    layer.params.flat = other.params.flat
    np.testing.assert_array_equal(layer.step(x)[0], other.step(x)[0])


def test_a_thread_does_not_hold_on_to_the_scratch_memory_of_a_large_batch():
    layer = fg.RNN(1, 300, seed=0)
    layer.step(np.zeros((500, 1)))
    assert getattr(layer._local, "ready", None) is None
    layer.step(np.zeros((1, 1)))
    assert layer._local.ready is not None
