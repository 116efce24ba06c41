"""Forward-mode derivatives against the layer's own back-propagation, and against central differences."""

import numpy as np
import pytest
from cases import CELLS, draw, draw_states, join, make, split

import fastgate as fg

MASK = [[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]
RESET = np.array([[0, 0, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]], bool)
CASES = [
    *((cell, {"num_layers": 2, "bidirectional": True}, {}) for cell in CELLS),
    ("lstm", {"batch_first": False}, {"lengths": [2, 0, 4]}),
    ("lstm", {"proj_size": 3, "peepholes": True, "num_layers": 2, "bidirectional": True}, {"lengths": [2, 0, 4]}),
    ("lstm", {"coupled": True, "peepholes": True, "clip": 0.5}, {}),
    ("gru", {"bias": "single"}, {"mask": np.array(MASK, bool)}),
    ("gru_reset_before", {"bias": "single"}, {"lengths": [2, 0, 4]}),
    ("lstm", {"num_layers": 2, "bidirectional": True}, {"reset": RESET}),
    ("rnn_tanh", {"bias": False}, {}),
]


class Problem:
    """A layer, a point, and a direction."""

    def __init__(self, cell, options, told, seed=0):
        rng, self.told = np.random.default_rng(seed), told
        self.layer = make(cell, 3, 5, **options)
        self.x, self.start = draw(rng, self.layer, 3, 4)
        self.dx, self.d_start = draw(rng, self.layer, 3, 4)
        self.dp = rng.standard_normal(self.layer.params.flat.size).astype(self.layer.dtype)
        self.rng = rng

    def jvp(self):
        options = {"dx": self.dx, "dstate": join(self.d_start), "dparams": self.dp}
        return self.layer.jvp(self.x, join(self.start), **options, **self.told)


@pytest.mark.parametrize(("cell", "options", "told"), CASES, ids=str)
def test_it_is_the_transpose_of_backward(cell, options, told):
    """<v, J u> = <J^T v, u>, over everything that goes in and comes out; y and states are those of a call."""
    case = Problem(cell, options, told)
    y, end, dy, d_end = case.jvp()
    called, called_end = case.layer(case.x, join(case.start), **told)
    np.testing.assert_array_equal(y, called)
    np.testing.assert_array_equal(np.concatenate(split(end), 2), np.concatenate(split(called_end), 2))

    v, v_end = case.rng.standard_normal(y.shape), draw_states(case.rng, case.layer, 3)
    _, _, tape = case.layer.forward(case.x, join(case.start), training=False, **told)
    back = case.layer.backward(tape, v, join(v_end))
    forwards = [v * dy, *(a * b for a, b in zip(v_end, split(d_end), strict=True))]
    backwards = [back.x * case.dx, *(a * b for a, b in zip(split(back.state), case.d_start, strict=True))]
    left = sum(np.sum(part) for part in forwards)
    right = sum(np.sum(part) for part in backwards) + back.params.flat @ case.dp
    assert abs(left - right) <= 1e-12 * sum(np.sum(np.abs(part)) for part in forwards)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
def test_it_is_what_central_differences_approach(cell):
    case, step = Problem(cell, {"num_layers": 2}, {}), 1e-5
    _, _, dy, d_end = case.jvp()

    def moved(by):
        case.layer.params.flat = flat + by * case.dp
        start = [part + by * d for part, d in zip(case.start, case.d_start, strict=True)]
        y, end = case.layer(case.x + by * case.dx, join(start))
        return [y, *split(end)]

    flat = case.layer.params.flat.copy()
    for found, above, below in zip([dy, *split(d_end)], moved(step), moved(-step), strict=True):
        np.testing.assert_allclose(found, (above - below) / (2 * step), rtol=1e-6, atol=1e-8)


def test_float32_agrees_with_float64_and_threads_do_not_matter():
    """Shared out over the sequences, or over the units of a step."""
    threads = fg.get_num_threads()
    try:
        for B, H in ((40, 48), (2, 160)):
            layer, rng = fg.LSTM(3, H, seed=1), np.random.default_rng(0)
            x, dx = (rng.standard_normal((B, 60, 3)).astype(np.float32) for _ in range(2))
            options = {"dx": dx, "dparams": {"weight_hh_l0": layer.params["weight_hh_l0"]}}
            fg.set_num_threads(1)
            one = layer.jvp(x, **options)[2]
            fg.set_num_threads(2)
            np.testing.assert_array_equal(layer.jvp(x, **options)[2], one)
            exact = fg.LSTM(3, H, dtype="float64")
            exact.params.flat = layer.params.flat
            expected = exact.jvp(x, **options)[2]
            assert np.abs(one - expected).max() <= 1e-5 * np.abs(expected).max()
    finally:
        fg.set_num_threads(threads)


def test_what_is_skipped_is_never_read_and_what_is_wrong_is_named():
    layer = fg.LSTM(3, 4)
    x, dx = np.zeros((2, 5, 3)), np.ones((2, 5, 3))
    dx[1, 2:] = np.nan
    _, _, dy, (dh, _) = layer.jvp(x, dx=dx, lengths=[5, 2])
    assert np.isfinite(dy).all()
    assert not dy[1, 2:].any()
    np.testing.assert_array_equal(dh[0, 1], dy[1, 1])
    unbatched = layer.jvp(x[0], dx=dx[0])
    np.testing.assert_array_equal(unbatched[2], dy[0])
    for options, expected in [
        ({}, "dx, dstate or dparams"),
        ({"dstate": (None, None)}, "dx, dstate or dparams"),
        ({"dx": x[:1]}, "dx: expected shape that of x"),
        ({"dparams": {"weight": 0}}, "weight"),
        ({"dparams": {"bias_ih_l0": np.zeros(3)}}, "bias_ih_l0"),
        ({"dparams": np.zeros(3)}, "dparams"),
    ]:
        with pytest.raises((ValueError, KeyError), match=expected):
            layer.jvp(x, **options)
    with pytest.raises(TypeError, match="jvp"):
        layer.quantized("int8").jvp(x, dx=dx)


@pytest.mark.parametrize(
    ("cell", "options", "told"),
    [
        ("lstm", {"num_layers": 2, "bidirectional": True}, {}),
        ("lstm", {"num_layers": 2, "bidirectional": True}, {"reset": RESET, "lengths": [4, 0, 3]}),
        ("lstm", {"peepholes": True, "proj_size": 2}, {"lengths": [4, 0, 3]}),
        ("gru", {"bias": "single"}, {"lengths": [4, 0, 3]}),
        ("gru_reset_before", {"recurrent_dropout": 0.3}, {"reset": RESET}),
    ],
    ids=str,
)
def test_gradients_of_each_sequence_are_those_of_it_alone(cell, options, told):
    layer, rng = make(cell, 3, 5, **options), np.random.default_rng(0)
    (x, start), dstate = draw(rng, layer, 3, 4), draw_states(rng, layer, 3)
    y, _, tape = layer.forward(x, join(start), rng_key=3, **told)
    dy = rng.standard_normal(y.shape)
    whole, each = layer.backward(tape, dy, join(dstate)), layer.backward(tape, dy, join(dstate), per_sample=True)
    np.testing.assert_array_equal(each.x, whole.x)
    np.testing.assert_allclose(each.params.flat.sum(axis=0), whole.params.flat, rtol=1e-12, atol=1e-14)
    assert each.params["weight_hh_l0"].shape == (3, *layer.params["weight_hh_l0"].shape)
    assert np.shares_memory(each.params["weight_hh_l0"], each.params.flat)
    for b in range(3):  # what the others do not contribute to: a gradient of one sequence alone
        only = np.zeros_like(dy)
        only[b] = dy[b]
        d_own = [np.zeros_like(part) for part in dstate]
        for part, given in zip(d_own, dstate, strict=True):
            part[:, b] = given[:, b]
        alone = layer.backward(tape, only, join(d_own)).params.flat
        np.testing.assert_allclose(each.params.flat[b], alone, rtol=1e-12, atol=1e-14)


def test_a_recomputed_tape_has_no_gradients_of_each_sequence():
    layer, x = fg.GRU(3, 4), np.zeros((2, 9, 3))
    y, _, tape = layer.forward(x, recompute=3)
    with pytest.raises(ValueError, match="per_sample"):
        layer.backward(tape, y, per_sample=True)
