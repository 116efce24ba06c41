"""What else one can ask of a layer with device="cuda" is what one on the CPU gives, and stays on the device."""

import numpy as np
import pytest
from test_device_layers import CASES, RESET, H, I, assert_equal, example, parts_of

import fastgate as fg
from fastgate.cuda import DeviceArray, array
from fastgate.kernels.cuda import from_host

pytestmark = pytest.mark.usefixtures("device")

CALLS = {
    **{name: CASES[name] for name in ("lstm", "gru", "rnn relu")},
    "gru resets": (fg.GRU, {"reset_after": False, "bidirectional": True}, {"reset": RESET}),
    **{name: CASES[name] for name in ("gru reset carry", "gru masked", "lstm coupled peepholes", "lstm all")},
    "gru float32": (fg.GRU, {"reset_after": False, "dtype": "float32"}, {}),
}
SIZES = {"ones": (1, 1, 1, 1), "odd": (7, 2, 3, 5), "no steps": (2, 0, 2, 3), "large": (1, 2, 1, 17)}


class Twins:
    """A layer on the CPU, its twin, and arguments."""

    def __init__(self, kind, options, told):
        self.layer, self.told = kind(I, H, seed=1, **{"dtype": "float64", **options}), told
        self.twin, self.dtype, self.rng = self.layer.to("cuda"), self.layer.dtype.name, np.random.default_rng(0)
        self.x, self.dy, self.state, self.dstate = example(kind, self.layer, self.rng)

    def assert_equal(self, found, expected):
        assert_equal(np.asarray(found), np.asarray(expected), self.dtype)

    def assert_gradients(self, found, expected):
        self.assert_equal(found.x, expected.x)
        self.assert_equal(found.params.flat, expected.params.flat)
        self.assert_states(found.state, expected.state)

    def assert_states(self, found, expected):
        for own, other in zip(parts_of(found), parts_of(expected), strict=True):
            self.assert_equal(own, other)


@pytest.mark.parametrize("name", CALLS)
def test_recompute(name):
    of = Twins(*CALLS[name])
    y, end, tape = of.layer.forward(of.x, of.state, rng_key=3, **of.told)
    own, own_end, own_tape = of.twin.forward(of.x, of.state, rng_key=3, recompute=3, **of.told)
    of.assert_equal(own, y)
    of.assert_states(own_end, end)
    for _ in range(2):  # a tape can be used again
        of.assert_gradients(of.twin.backward(own_tape, of.dy, of.dstate), of.layer.backward(tape, of.dy, of.dstate))
    assert 0 < own_tape.nbytes < of.twin.forward(of.x, rng_key=3, **of.told)[2].nbytes
    with pytest.raises(ValueError, match="per_sample"):
        of.twin.backward(own_tape, of.dy, per_sample=True)


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_each_sequence(name):
    of = Twins(*CALLS[name])
    expected, found = (
        layer.backward(layer.forward(of.x, of.state, rng_key=3, **of.told)[2], of.dy, of.dstate, per_sample=True)
        for layer in (of.layer, of.twin)
    )
    of.assert_gradients(found, expected)
    flat = found.params.flat
    assert isinstance(flat, DeviceArray)
    of.assert_equal(found.params["weight_hh_l0"], expected.params["weight_hh_l0"])
    flat[:, 1:3] = 7
    np.testing.assert_array_equal(flat[..., 1:3], np.full((len(flat), 2), 7))
    with pytest.raises(TypeError, match=r"weight_hh_l0.*write into flat"):
        found.params["weight_hh_l0"] = 0 * expected.params["weight_hh_l0"]


@pytest.mark.parametrize("name", CALLS)
def test_forward_mode(name):
    of = Twins(*CALLS[name])
    if name == "lstm all":
        with pytest.raises(ValueError, match=r"^jvp with proj_size: expected a layer on the CPU"):
            of.twin.jvp(of.x, dx=of.x)
        return
    dx, dparams = of.rng.standard_normal(of.x.shape), of.rng.standard_normal(of.layer.params.flat.size)
    for directions in ({"dx": dx}, {"dx": dx, "dstate": of.dstate, "dparams": dparams}):
        expected, found = (layer.jvp(of.x, of.state, **directions, **of.told) for layer in (of.layer, of.twin))
        for y, other in ((found[0], expected[0]), (found[2], expected[2])):
            assert_equal(y, other, of.dtype)
        of.assert_states(found[1], expected[1])
        of.assert_states(found[3], expected[3])


def test_forward_mode_is_what_central_differences_approach():
    layer = fg.GRU(I, H, seed=0, reset_after=False, dtype="float64", device="cuda")
    rng, step = np.random.default_rng(0), 1e-5
    x, dx, flat = rng.standard_normal((2, 3, I)), rng.standard_normal((2, 3, I)), np.asarray(layer.params.flat)
    dparams = rng.standard_normal(flat.size)
    found = layer.jvp(x, dx=dx, dparams=dparams)[2]
    ys = []
    for by in (step, -step):
        layer.params.flat = flat + by * dparams
        ys.append(layer(x + by * dx)[0])
    np.testing.assert_allclose(found, (ys[0] - ys[1]) / (2 * step), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("kind", "options"), [(fg.LSTM, {}), (fg.GRU, {"reset_after": False})])
def test_sizes_that_nobody_tuned_for(kind, options, sizes):
    batch, steps, inputs, units = SIZES[sizes]
    layer = kind(inputs, units, seed=0, dtype="float64", **options)
    twin, x = layer.to("cuda"), np.random.default_rng(0).standard_normal((batch, steps, inputs))
    y, _, tape = layer.forward(x)
    expected, each = layer.backward(tape, y), layer.backward(tape, y, per_sample=True)
    own = twin.backward(twin.forward(x, recompute="auto")[2], y)
    assert_equal(own.x, expected.x, "float64")
    assert_equal(np.asarray(own.params.flat), expected.params.flat, "float64")
    own = twin.backward(twin.forward(x)[2], y, per_sample=True)
    assert_equal(np.asarray(own.params.flat), each.params.flat, "float64")
    moves = {"dx": x + 1, "dparams": layer.params.flat}
    assert_equal(twin.jvp(x, **moves)[2], layer.jvp(x, **moves)[2], "float64")


def test_everything_stays_where_it_is():
    layer = fg.LSTM(I, H, seed=0, dtype="float64")
    twin, x = layer.to("cuda"), np.random.default_rng(0).standard_normal((4, I))  # unbatched
    y, state, dy, dstate = twin.jvp(array(x), dx=array(x))
    assert all(isinstance(part, DeviceArray) for part in (y, *state, dy, *dstate))
    np.testing.assert_allclose(dy, layer.jvp(x, dx=x)[2], rtol=0, atol=1e-14)
    dparams = twin.backward(twin.forward(array(x))[2], y).params  # on the device, too
    expected = layer.jvp(x, dparams={name: np.asarray(part) for name, part in dparams.items()})[2]
    np.testing.assert_allclose(twin.jvp(array(x), dparams=dparams)[2], expected, rtol=0, atol=1e-14)


def test_complex_numbers_are_refused_there_too():
    layer, linear = fg.LSTM(I, H, device="cuda"), fg.Linear(I, 2, device="cuda")
    x = np.ones((2, 3, I))
    odd, pair = from_host(x * 1j), from_host(np.ones((1, 2, H)) * 1j)
    tape, dense = layer.forward(array(x))[2], linear.forward(array(x))[1]
    for name, call in {
        "x": lambda: layer(odd),
        r"state\[0\]": lambda: layer(x, (pair, pair)),
        "dx": lambda: layer.jvp(x, dx=odd),
        "dy": lambda: layer.backward(tape, from_host(np.ones((2, 3, H)) * 1j)),
    }.items():
        with pytest.raises(TypeError, match=f"^{name}.*: expected an array of real numbers, got dtype complex128"):
            call()
    for name, call in {
        "x": lambda: linear(odd),
        "dy": lambda: linear.backward(dense, from_host(np.ones((2, 3, 2)) * 1j)),
        "y": lambda: fg.mse(odd, x),
    }.items():
        with pytest.raises(TypeError, match=f"^{name}: expected an array of real numbers"):
            call()


def test_a_step_of_no_sequences():
    layer = fg.GRU(I, H, device="cuda")
    for x in (np.ones((0, I), np.float32), array(np.ones((0, I), np.float32))):
        assert layer.step(x)[0].shape == (0, H)


def test_outputs_that_cannot_be_written():
    layer, x = fg.LSTM(I, H, seed=0, device="cuda"), np.ones((2, 3, I), np.float32)
    y, _ = layer(x)
    locked = np.empty_like(y)
    locked.flags.writeable = False
    for out in (locked, y.tolist(), array(y), y.astype(float)):
        with pytest.raises(TypeError, match="out: expected a writable C-contiguous array of dtype float32"):
            layer(x, out=out)
    with pytest.raises(TypeError, match=r"out: .* got one that is read-only"):
        layer(array(x), out=array(y).locked())


def test_ensembles():
    rng = np.random.default_rng(0)
    ensemble = fg.Ensemble.of(fg.LSTM(I, H, device="cuda", dtype="float64"), 2, seed=0)
    assert [member.device for member in ensemble.members] == ["cuda", "cuda"]
    twin = fg.Ensemble(member.to("cpu") for member in ensemble.members)
    np.testing.assert_array_equal(np.asarray(ensemble.flat), twin.flat)
    x, targets = rng.standard_normal((2, 2, 2, I)), rng.standard_normal((2, 2, H))
    y, end = twin(x[0])
    own, own_end = ensemble(array(x[0]))
    assert isinstance(own, DeviceArray)
    np.testing.assert_allclose(own, y, rtol=0, atol=1e-13)
    expected_y, _, expected_tape = twin.forward(x, end, each=True)
    own_y, _, tape = ensemble.forward(array(x), own_end, each=True)
    expected, found = twin.backward(expected_tape, expected_y, end), ensemble.backward(tape, own_y, own_end)
    assert isinstance(found.params.flat, DeviceArray)
    for part, other in ((found.x, expected.x), (found.params.flat, expected.params.flat)):
        np.testing.assert_allclose(part, other, rtol=0, atol=1e-12)
    for part, other in zip(parts_of(found.state), parts_of(expected.state), strict=True):
        np.testing.assert_allclose(part, other, rtol=0, atol=1e-12)

    def train(members):
        optimizer = fg.SGD(0.1)
        losses, gradients = members.gradients(lambda y, m: fg.mse(np.asarray(y), targets), x[0])
        optimizer.step(*members.split(gradients))
        return losses

    np.testing.assert_allclose(train(ensemble), train(twin), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(ensemble.flat), twin.flat, rtol=0, atol=1e-13)
    ensemble.flat = twin.flat
    np.testing.assert_array_equal(np.asarray(ensemble.members[1].params.flat), twin.members[1].params.flat)
    with pytest.raises(ValueError, match=r"^members\[1\].device: expected 'cuda'"):
        fg.Ensemble([ensemble.members[0], twin.members[1]])


def test_what_runs_elsewhere_gets_a_snapshot(tmp_path):
    layer = fg.GRU(I, H, seed=0)
    twin = layer.to("cuda")
    for own, expected in zip(twin.jit(), layer.jit(), strict=True):
        np.testing.assert_array_equal(own, expected)
    step = twin.cfunc()
    x, state, y = np.ones(I, step.dtype), step.new_state(), np.empty(H, step.dtype)
    step.ctypes(step.cell, x.ctypes, state.ctypes, y.ctypes)
    np.testing.assert_array_equal(y, layer.step(x)[0])
    for own, expected in zip(fg.to_c(twin, tmp_path / "own"), fg.to_c(layer, tmp_path / "expected"), strict=True):
        assert own.read_text(encoding="utf-8") == expected.read_text(encoding="utf-8")
    for name, gru in (("own", twin), ("expected", layer)):
        fg.to_rtneural(fg.Sequential(gru, fg.Linear(H, 1, seed=0)), tmp_path / f"{name}.json")
    assert (tmp_path / "own.json").read_text() == (tmp_path / "expected.json").read_text()


@pytest.mark.parametrize("batch", [None, 2])
def test_streams(batch, tmp_path):
    layer = fg.LSTM(I, H, seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((2, 5, I))[0 if batch is None else slice(None)]
    expected, end = layer(x)
    stream = layer.to("cuda").stream(batch)
    first = stream.push(x[..., 0, :])
    second = stream.push(array(np.ascontiguousarray(x[..., 1:3, :])))
    assert isinstance(second, DeviceArray)
    stream.save(tmp_path / "state")
    stream.push(x[..., 3, :])
    stream.restore(tmp_path / "state")
    rest = stream.push(x[..., 3:, :])
    found = np.concatenate([np.expand_dims(first, -2), np.asarray(second), rest], axis=-2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    for own, other in zip(stream.state, end, strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-14)
    stream.push(array(np.ascontiguousarray(x[..., 0, :])))
    stream.reset(np.ones(() if batch is None else batch, bool))
    assert not np.any(stream.state)
