"""Whose memory it is: arguments are never changed, results are fresh, and a tape keeps what it needs to itself."""

import copy
import pickle

import numpy as np
import pytest

import fastgate as fg
from fastgate.kernels.cpu.features import padded

B, T, I, H = 3, 5, 4, 3
LSTM = fg.LSTM(I, H, num_layers=2, seed=1)
rng = np.random.default_rng(0)
X = rng.standard_normal((B, T, I)).astype(np.float32)
PAIR = tuple(rng.standard_normal((2, B, H)).astype(np.float32) for _ in range(2))
DY = rng.standard_normal((B, T, H)).astype(np.float32)
LENGTHS = np.array([5, 0, 2])


def flattened(*results):
    """All arrays among the results, as bytes."""
    found = []
    for result in results:
        if isinstance(result, np.ndarray):
            found.append(result.tobytes())
        elif isinstance(result, tuple):
            found += flattened(*result)
        elif isinstance(result, fg.NamedArrays):
            found.append(result.flat.tobytes())
    return found


def arrays_of(*results):
    return [
        array
        for result in results
        for array in ([result] if isinstance(result, np.ndarray) else arrays_of(*result) if result else [])
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arguments_are_never_changed(dtype):
    layer = fg.LSTM(I, H, num_layers=2, bidirectional=True, dropout=0.5, seed=0, dtype=dtype)
    x, lengths, dy = X.astype(dtype), LENGTHS.copy(), np.tile(DY, 2).astype(dtype)
    pair = tuple(np.tile(part, (2, 1, 1)).astype(dtype) for part in PAIR)
    dpair = tuple(part + 1 for part in pair)
    before = flattened(x, lengths, dy, pair, dpair)
    layer(x, pair, lengths=lengths)
    _, _, tape = layer.forward(x, pair, lengths=lengths, rng_key=1)
    layer.backward(tape, dy, dpair)
    one_way = fg.LSTM(I, H, num_layers=4, dtype=dtype)
    one_way.step(x[:, 0], pair)
    one_way.forward(x, pair, copy=False)
    assert flattened(x, lengths, dy, pair, dpair) == before


def test_results_are_writable_and_fresh():
    x, pair = X.copy(), tuple(part.copy() for part in PAIR)
    clean = flattened(LSTM(x, pair), LSTM.step(x[:, 0], pair))
    for _ in range(2):
        y, state = LSTM(x, pair)
        y_step, state_step = LSTM.step(x[:, 0], pair)
        assert flattened((y, state), (y_step, state_step)) == clean
        results = [y, *state, y_step, *state_step]
        for i, array in enumerate(results):
            assert array.flags.writeable
            others = [x, *pair, *results[:i], *results[i + 1 :]]
            assert not any(np.shares_memory(array, other) for other in others)
            array[...] = np.nan
    assert flattened(pair) == flattened(PAIR)


@pytest.mark.parametrize("unbatched", [False, True], ids=["batched", "unbatched"])
def test_results_of_no_steps_are_not_the_arguments(unbatched):
    pair = tuple(part[:, 0] if unbatched else part for part in PAIR)
    y, state = LSTM(X[0, :0] if unbatched else X[:, :0], pair)
    assert flattened(state) == flattened(tuple(map(np.ascontiguousarray, pair)))
    assert not any(np.shares_memory(*both) for both in zip(state, pair, strict=True))
    assert y.size == 0


@pytest.mark.parametrize("training", [True, False])
def test_output_of_forward_is_read_only(training):
    y, state, tape = LSTM.forward(X, PAIR, training=training)
    assert not y.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 0
    clean = flattened(LSTM.backward(tape, DY))
    for part in state:
        part[...] = np.nan
    assert flattened(LSTM.backward(tape, DY)) == clean


def test_backward_twice():
    tape = LSTM.forward(X, PAIR, lengths=LENGTHS)[2]
    first = LSTM.backward(tape, DY, PAIR)
    clean = flattened(first)
    for array in (first.x, *first.state, first.params.flat):
        assert array.flags.writeable
        array[...] = np.nan
    assert flattened(LSTM.backward(tape, DY, PAIR)) == clean
    assert flattened(LSTM.backward(copy.copy(tape), DY, PAIR)) == clean


# ------------------------------------------------------------------------------------- a tape keeps its own copy


def read_only_view(x):
    view = x.view()
    view.flags.writeable = False
    return x, view


def unpickled(x):
    # Its dtype equals float32 without being the one object that NumPy has for it.
    loaded = pickle.loads(pickle.dumps(x))
    return loaded, loaded


def torch_tensor(x):
    return x, pytest.importorskip("torch").from_numpy(x)


class DLPackOnly:
    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class Subclass(np.ndarray):
    pass


class Interface:
    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self._array = array


SHARING = {
    "array": lambda x: (x, x),
    "view": lambda x: (x, x[:]),
    "read-only view": read_only_view,
    "subclass": lambda x: (x, x.view(Subclass)),
    "unpickled": unpickled,
    "torch": torch_tensor,
    "dlpack": lambda x: (x, DLPackOnly(x)),
    "interface": lambda x: (x, Interface(x)),
}
sharing = pytest.mark.parametrize("share", SHARING.values(), ids=SHARING.keys())


@sharing
@pytest.mark.parametrize("layout", ["batch_first", "time_first", "unbatched"])
def test_changing_x_after_forward_changes_nothing(share, layout):
    layer = fg.LSTM(I, H, batch_first=layout != "time_first", seed=0)
    memory, given = share(X[0].copy() if layout == "unbatched" else X.copy())
    y, _, tape = layer.forward(given)
    clean = flattened(layer.backward(tape, np.ones_like(y)))
    memory[...] = 7
    assert flattened(layer.backward(tape, np.ones_like(y))) == clean


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))], ids=["copy", "deepcopy", "pickle"]
)
def test_changing_x_after_forward_of_a_copied_layer(duplicate):
    layer, x = duplicate(LSTM), X.copy()
    tape = layer.forward(x)[2]
    clean = flattened(layer.backward(tape, DY))
    x[...] = 7
    assert flattened(layer.backward(tape, DY)) == clean


def test_changing_state_and_lengths_after_forward_changes_nothing():
    pair, lengths = tuple(part.copy() for part in PAIR), LENGTHS.copy()
    tape = LSTM.forward(X, pair, lengths=lengths)[2]
    clean = flattened(LSTM.backward(tape, DY))
    for array in (*pair, lengths):
        array[...] = 1
    assert flattened(LSTM.backward(tape, DY)) == clean


@sharing
def test_changing_x_after_forward_of_linear(share):
    layer = fg.Linear(I, 2, seed=0)
    memory, given = share(X.copy())
    y, tape = layer.forward(given)
    clean = flattened(layer.backward(tape, np.ones_like(y)))
    memory[...] = 7
    assert flattened(layer.backward(tape, np.ones_like(y))) == clean


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_changing_x_after_forward_of_embedding(dtype):
    layer, ids = fg.Embedding(4, 2, seed=0), np.array([1, 3], dtype)
    y, tape = layer.forward(ids)
    ids[...] = 0
    gradient = layer.backward(tape, np.ones_like(y)).params["weight"]
    assert gradient.sum(axis=1).tolist() == [0, 2, 0, 2]


def test_without_a_copy_the_tape_refers_to_x():
    kept = LSTM.forward(X, copy=False)[2]
    assert any(np.shares_memory(record.x, X) for record in kept.records)
    assert flattened(LSTM.backward(kept, DY)) == flattened(LSTM.backward(LSTM.forward(X)[2], DY))
    own = LSTM.forward(X)[2]
    assert not any(np.shares_memory(record.x, X) for record in own.records)


# ------------------------------------------------------------------------------------------------ size of a tape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "states", "gates"),
    [(fg.LSTM, 2, 4), (fg.GRU, 1, 4), (fg.RNN, 1, 0)],
    ids=["LSTM", "GRU", "RNN"],
)
@pytest.mark.parametrize("directions", [1, 2])
def test_bytes_of_a_tape(make, states, gates, directions, dtype):
    """One x for each layer; of each row its gates, and its states padded to whole vectors; and the states before."""
    layer = make(I, H, num_layers=2, bidirectional=directions == 2, dtype=dtype)
    size, Hp = layer.dtype.itemsize, padded(H, layer.dtype)
    for lengths in (None, LENGTHS):
        rows = B * T if lengths is None else int(lengths.sum())
        inputs = B * T * (I + directions * H)
        expected = size * (inputs + 2 * directions * (Hp * states * (B + rows) + H * gates * rows))
        assert layer.forward(X, lengths=lengths)[2].nbytes == expected
        assert layer.forward(X.astype(dtype), lengths=lengths, copy=False)[2].nbytes == expected
