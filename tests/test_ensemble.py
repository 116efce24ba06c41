"""An ensemble computes, to the last bit, what its members compute one by one."""

import copy

import numpy as np
import pytest
from cases import CELLS, draw, draw_states, join, make, split

import fastgate as fg

M, B, T = 3, 2, 4
CASES = [
    *((cell, {}, {}) for cell in CELLS),
    ("lstm", {"num_layers": 2, "bidirectional": True, "batch_first": False}, {"lengths": [4, 2]}),
    (
        "gru",
        {"bias": "single", "num_layers": 2, "dtype": "float32"},
        {"mask": np.array([[1, 0, 1, 1], [0, 1, 1, 0]]) > 0},
    ),
    ("lstm", {"proj_size": 2, "peepholes": True}, {}),
    ("rnn_tanh", {"num_layers": 2, "dropout": 0.5, "recurrent_dropout": 0.2}, {}),
]


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize(("cell", "options", "told"), CASES, ids=str)
def test_it_is_its_members(cell, options, told, each):
    ensemble, rng = fg.Ensemble.of(make(cell, 3, 5, **options), M, seed=1), np.random.default_rng(0)
    data = [draw(rng, layer, B, T) for layer in ensemble.layers]
    x = np.stack([own for own, _ in data]) if each else data[0][0]
    start = join([np.stack(parts) for parts in zip(*(state for _, state in data), strict=True)])
    dstate = [np.stack([draw_states(rng, layer, B)[i] for layer in ensemble.layers]) for i in range(len(split(start)))]
    y, end = ensemble(x, start, each=each, **told)
    trained, _, tape = ensemble.forward(x, start, each=each, rng_key=5, **told)
    dy = rng.standard_normal(y.shape)
    found = ensemble.backward(tape, dy, join(dstate))
    for m, layer in enumerate(ensemble.layers):
        own, own_start = x[m] if each else x, join([part[m] for part in split(start)])
        expected, expected_end = layer(own, own_start, **told)
        np.testing.assert_array_equal(y[m], expected)
        for part, wanted in zip(split(end), split(expected_end), strict=True):
            np.testing.assert_array_equal(part[m], wanted)
        expected, _, own_tape = layer.forward(own, own_start, rng_key=5, **told)
        np.testing.assert_array_equal(trained[m], expected)
        back = layer.backward(own_tape, dy[m], join([part[m] for part in dstate]))
        np.testing.assert_array_equal(found.x[m], back.x)
        np.testing.assert_array_equal(found.params.flat[m], back.params.flat)
        for part, wanted in zip(split(found.state), split(back.state), strict=True):
            np.testing.assert_array_equal(part[m], wanted)
        for name, array in back.params.items():
            np.testing.assert_array_equal(found.params[name][m], array)


def test_threads_share_members_and_unbatched_x_will_do():
    ensemble, threads = fg.Ensemble.of(fg.LSTM(3, 16), 32, seed=0), fg.get_num_threads()
    x = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    found = []
    try:
        for count in (1, 2):
            fg.set_num_threads(count)
            y, (h, _), tape = ensemble.forward(x)
            found.append((y, h, ensemble(x)[0], ensemble.backward(tape, y).params.flat))
    finally:
        fg.set_num_threads(threads)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    assert found[0][0].shape == (32, 100, 16)
    assert found[0][1].shape == (32, 1, 16)
    np.testing.assert_array_equal(found[0][0], found[0][2])
    np.testing.assert_array_equal(found[0][0][7], ensemble.layers[7](x)[0])


def test_parameters_are_a_matrix_and_tapes_notice_when_they_are_written():
    ensemble, x = fg.Ensemble.of(fg.GRU(3, 4), M, seed=0), np.ones((B, T, 3))
    assert len({tuple(row) for row in ensemble.flat}) == M
    y, _, tape = ensemble.forward(x)
    flat = 2 * ensemble.flat
    ensemble.flat = flat
    np.testing.assert_array_equal(ensemble.flat, flat)
    assert not np.array_equal(ensemble(x)[0], y)
    np.testing.assert_array_equal(copy.deepcopy(ensemble)(x)[0], ensemble(x)[0])
    with pytest.raises(ValueError, match="parameters"):
        ensemble.backward(tape, y)
    with pytest.raises(ValueError, match="another"):
        fg.Ensemble(ensemble.layers).backward(ensemble.forward(x)[2], y)


def test_what_is_wrong_is_named():
    layer = fg.GRU(3, 4)
    ensemble = fg.Ensemble([layer, fg.GRU(3, 4)])
    x = np.ones((B, T, 3))
    for make_wrong, error, expected in [
        (lambda: fg.Ensemble([]), ValueError, "at least one"),
        (lambda: fg.Ensemble([layer, fg.Linear(3, 4)]), TypeError, r"layers\[1\]"),
        (lambda: fg.Ensemble([layer, layer]), ValueError, r"layers\[1\]"),
        (lambda: fg.Ensemble([layer, fg.GRU(3, 5)]), ValueError, r"layers\[1\].hidden_size"),
        (lambda: ensemble(x, each=True, lengths=[9, 9]), ValueError, "lengths"),
        (lambda: ensemble(np.ones((3, B, T, 3)), each=True), ValueError, "one for each member"),
        (lambda: ensemble(x, np.ones((3, 1, B, 4))), ValueError, "state"),
        (lambda: ensemble.backward(ensemble.forward(x)[2]), ValueError, "dy, dstate"),
        (lambda: setattr(ensemble, "flat", np.ones(3)), ValueError, "flat"),
    ]:
        with pytest.raises(error, match=expected):
            make_wrong()
