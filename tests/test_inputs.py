"""Every kind of array that is accepted is the clean array of its values; nothing that came in is changed or kept."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

B, T, I, H = 3, 5, 4, 3
LSTM = fg.LSTM(I, H, num_layers=2, seed=1)
GRU = fg.GRU(I, H, seed=2)
DOUBLE = fg.LSTM(I, H, num_layers=2, seed=1, dtype="float64")
# Small integers: exact in every dtype below, so that results must be equal, not only near.
X = np.random.default_rng(0).integers(0, 3, (B, T, I))


class DLPackOnly:
    """Foreign memory that says nothing of NumPy's protocols."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class Subclass(np.ndarray):
    def __array_ufunc__(self, *_, **__):
        raise AssertionError("computed with, not converted")


def locked(array):
    array.flags.writeable = False
    return array


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    moved = raw.view(array.dtype).reshape(array.shape)
    moved[...] = array
    assert not moved.flags.aligned
    return moved


def spread(array):
    """A view of every second entry, with NaN between them."""
    wide = np.full([2 * n for n in array.shape], np.nan, array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def backwards(array):
    return np.ascontiguousarray(array[..., ::-1, ::-1])[..., ::-1, ::-1]


def on_disk(array, tmp_path):
    mapped = np.memmap(tmp_path / "x", array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return np.memmap(tmp_path / "x", array.dtype, "r", shape=array.shape)


DTYPES = ["float16", "float32", "float64", "longdouble", ">f4", ">f8", "<f8", ">i2"]
DTYPES += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FORMS = {
    **{dtype: lambda a, _, dtype=dtype: a.astype(dtype) for dtype in DTYPES},
    **{f"list of {kind.__name__}": lambda a, _, kind=kind: a.astype(kind).tolist() for kind in (int, float)},
    "list of arrays": lambda a, _: list(a.astype(np.float32)),
    "list of tuples": lambda a, _: [tuple(map(tuple, rows)) for rows in a.tolist()],
    "fortran": lambda a, _: np.asfortranarray(a.astype(np.float32)),
    "negative strides": lambda a, _: backwards(a.astype(np.float32)),
    "spread": lambda a, _: spread(a.astype(np.float32)),
    "spread double": lambda a, _: spread(a.astype(np.float64)),
    "transposed": lambda a, _: np.ascontiguousarray(a.T.astype(np.float32)).T,
    "read-only": lambda a, _: locked(a.astype(np.float32)),
    "read-only double": lambda a, _: locked(a.astype(np.float64)),
    "unaligned": lambda a, _: unaligned(a.astype(np.float32)),
    "subclass": lambda a, _: a.astype(np.float32).view(Subclass),
    "memmap": lambda a, tmp_path: on_disk(a.astype(np.float32), tmp_path),
    "dlpack": lambda a, _: DLPackOnly(a.astype(np.float32)),
    "dlpack double": lambda a, _: DLPackOnly(a.astype(np.float64)),
    "record array": lambda a, _: a.astype(np.float32).view(np.recarray),
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def same(ours, theirs):
    """Equal entry by entry, through pairs."""
    if isinstance(ours, tuple):
        return all(same(*pair) for pair in zip(ours, theirs, strict=True))
    return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@forms
@pytest.mark.parametrize("layer", [LSTM, DOUBLE], ids=["float32", "float64"])
def test_x(form, layer, tmp_path):
    clean = X.astype(layer.dtype)
    given = form(X, tmp_path)
    before = repr(given)
    y, state = layer(given)
    assert y.dtype == layer.dtype
    assert same((y, *state), (layer(clean)[0], *layer(clean)[1]))
    assert same(layer(given, lengths=[2, 0, 5])[0], layer(clean, lengths=[2, 0, 5])[0])
    y, _, tape = layer.forward(given)
    dy = np.ones(y.shape, layer.dtype)
    gradients, expected = layer.backward(tape, dy), layer.backward(layer.forward(clean)[2], dy)
    assert same((gradients.x, gradients.params.flat), (expected.x, expected.params.flat))
    assert repr(given) == before


@forms
def test_state_dy_and_dstate(form, tmp_path):
    values = np.random.default_rng(1).integers(0, 3, (1, B, H))
    h, given = values.astype(np.float32), form(values, tmp_path)
    assert same(GRU(X, given), GRU(X, h))
    assert same(GRU.step(X[:, 0], given), GRU.step(X[:, 0], h))
    tape = GRU.forward(X[:1, :B])[2]  # of one sequence, so that dy has the shape of `values`
    assert same(GRU.backward(tape, given).x, GRU.backward(tape, h).x)
    tape = GRU.forward(X, given)[2]
    ours, clean = GRU.backward(tape, dstate=given), GRU.backward(tape, dstate=h)
    assert same((ours.x, ours.state, ours.params.flat), (clean.x, clean.state, clean.params.flat))


@forms
def test_parameters(form, tmp_path):
    layer = fg.RNN(I, H, seed=0)
    values = np.random.default_rng(2).integers(0, 3, (1, H, I))
    layer.params["weight_ih_l0"] = np.asarray(values[0].tolist())
    clean = layer.params["weight_ih_l0"]
    given = form(values, tmp_path)
    layer.params["weight_ih_l0"] = given[0] if not isinstance(given, DLPackOnly) else DLPackOnly(given._array[0])
    assert same(clean, layer.params["weight_ih_l0"])
    assert clean is not layer.params["weight_ih_l0"]


def test_bool():
    x = X > 0
    assert same(LSTM(x), LSTM(x.astype(np.float32)))


def test_matrix_is_one_sequence():
    with pytest.warns(PendingDeprecationWarning):
        x = np.matrix(X[0])
    assert same(LSTM(x), LSTM(X[0].astype(np.float32)))


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (0, 1, 2)], ids=str)
def test_broadcast_arrays(axes):
    small = X.astype(np.float32)[tuple(slice(1) if axis in axes else slice(None) for axis in range(3))]
    given = np.broadcast_to(small, X.shape)
    assert 0 in given.strides
    assert same(LSTM(given), LSTM(given.copy()))
    dy = np.broadcast_to(np.float32(1), (B, T, H))
    tape = LSTM.forward(given)[2]
    assert same(LSTM.backward(tape, dy).x, LSTM.backward(tape, dy.copy()).x)


@pytest.mark.parametrize(
    "kind", ["i1", "u1", "i8", "u8", ">i4", list, tuple, "read-only", "spread", "subclass"], ids=str
)
def test_lengths(kind):
    lengths = np.array([2, 0, 5])
    if kind in (list, tuple):
        given = kind(lengths.tolist())
    elif kind == "read-only":
        given = locked(lengths.copy())
    elif kind == "spread":
        given = np.repeat(lengths, 2)[::2]
    else:
        given = lengths.view(Subclass) if kind == "subclass" else lengths.astype(kind)
    before = repr(given)
    y, _, tape = LSTM.forward(X, lengths=given)
    assert same(y, LSTM(X, lengths=lengths)[0])
    LSTM.backward(tape, np.ones_like(y))
    assert repr(given) == before


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    clean = LSTM(X)
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int8, torch.int64, torch.uint8):
        x = torch.tensor(X.tolist()).to(dtype)
        assert same(LSTM(x), clean)
        assert same(LSTM(x.transpose(1, 2).contiguous().transpose(1, 2)), clean)
        assert np.array_equal(x.numpy(), X)
    lengths = torch.tensor([2, 0, 5])
    assert same(LSTM(X, lengths=lengths), LSTM(X, lengths=[2, 0, 5]))
    assert same(LSTM(X, clean[1]), LSTM(X, tuple(map(torch.from_numpy, clean[1]))))
    assert same(GRU.step(torch.tensor(X[0, 0].tolist())), GRU.step(X[0, 0]))
    assert same(fg.Linear(I, 2, seed=0)(x), fg.Linear(I, 2, seed=0)(X))
    assert same(fg.Embedding(3, 2, seed=0)(torch.tensor(X.tolist())), fg.Embedding(3, 2, seed=0)(X))


def test_torch_tensors_that_numpy_cannot_hold():
    torch = pytest.importorskip("torch")
    for x in (torch.zeros(B, T, I, requires_grad=True), torch.zeros(B, T, I, dtype=torch.bfloat16)):
        with complaint(TypeError, "x"):
            LSTM(x)
