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
    ("gru", {"bidirectional": True}, {"reset": np.array([[0, 0, 1, 0], [1, 0, 0, 1]]) > 0}),
]


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize(("cell", "options", "told"), CASES, ids=str)
def test_it_is_its_members(cell, options, told, each):
    ensemble, rng = fg.Ensemble.of(make(cell, 3, 5, **options), M, seed=1), np.random.default_rng(0)
    data = [draw(rng, layer, B, T) for layer in ensemble.members]
    x = np.stack([own for own, _ in data]) if each else data[0][0]
    start = join([np.stack(parts) for parts in zip(*(state for _, state in data), strict=True)])
    dstate = [np.stack([draw_states(rng, layer, B)[i] for layer in ensemble.members]) for i in range(len(split(start)))]
    y, end = ensemble(x, start, each=each, **told)
    trained, _, tape = ensemble.forward(x, start, each=each, rng_key=5, **told)
    dy = rng.standard_normal(y.shape)
    found = ensemble.backward(tape, dy, join(dstate))
    for m, layer in enumerate(ensemble.members):
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
    np.testing.assert_array_equal(found[0][0][7], ensemble.members[7](x)[0])


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
        fg.Ensemble(ensemble.members).backward(ensemble.forward(x)[2], y)


def own_state(state, m):
    return tuple(own_state(part, m) for part in state) if isinstance(state, tuple) else state[m]


def new_model(seed, **options):
    lstm = fg.LSTM(3, 4, bidirectional=True, dtype="float64", seed=seed, **options)
    norm, head = fg.LayerNorm(8, dtype="float64"), fg.Linear(8, 2, dtype="float64", seed=seed)
    return fg.Sequential(lstm, norm, fg.GRU(8, 5, dtype="float64", seed=seed), fg.Linear(5, 8, dtype="float64"), head)


@pytest.mark.parametrize("each", [False, True])
def test_models_are_their_members(each):
    ensemble, rng = fg.Ensemble.of(new_model(0), M, seed=1), np.random.default_rng(0)
    assert len({tuple(row) for row in ensemble.flat}) == M
    x, told = rng.standard_normal((M, B, T, 3)) if each else rng.standard_normal((B, T, 3)), {"lengths": [4, 2]}
    start = (rng.standard_normal((M, 2, B, 4)), rng.standard_normal((M, 2, B, 4))), rng.standard_normal((M, 1, B, 5))
    y, (lstm_end, gru_end) = ensemble(x, start, each=each, **told)
    trained, _, tape = ensemble.forward(x, start, each=each, **told)
    dy = rng.standard_normal(y.shape)
    found = ensemble.backward(tape, dy, start)
    np.testing.assert_array_equal(trained, y)
    for m, model in enumerate(ensemble.members):
        own = (start[0][0][m], start[0][1][m]), start[1][m]
        expected, ends = model.run(x[m] if each else x, own, **told)
        np.testing.assert_array_equal(y[m], expected)
        np.testing.assert_array_equal(gru_end[m], ends[1])
        np.testing.assert_array_equal(lstm_end[1][m], ends[0][1])
        back = model.backward(model.forward(x[m] if each else x, state=own, **told)[1], dy[m], own)
        np.testing.assert_array_equal(found.x[m], back.x)
        np.testing.assert_array_equal(found.params.flat[m], back.params.flat)
        np.testing.assert_array_equal(found.state[0][1][m], back.state[0][1])


@pytest.mark.parametrize(
    "member", [new_model(0), fg.LSTM(3, 4, seed=0), fg.GRU(3, 32, seed=0)], ids=["model", "small", "large"]
)
def test_training_is_that_of_the_members_one_by_one(member):
    """One optimiser for all of them, and an optimiser for each; members are shared out by what their tapes take."""
    ensemble, rng = fg.Ensemble.of(member, 3, seed=2), np.random.default_rng(0)
    twins, x = copy.deepcopy(ensemble).members, rng.standard_normal((3, 16, 60, 3))
    y, start = ensemble(x, each=True)
    targets = rng.standard_normal(y.shape)
    adam, own_adams = fg.Adam(1e-2), [fg.Adam(1e-2) for _ in twins]
    for _ in range(2):
        losses, gradients = ensemble.gradients(lambda y, m: fg.mse(y, targets[m]), x, start, each=True)
        adam.step(*ensemble.split(gradients))
        for m, (twin, own_adam) in enumerate(zip(twins, own_adams, strict=True)):
            y, *_, tape = twin.forward(x[m], state=own_state(start, m))
            loss, dy = fg.mse(y, targets[m])
            own = twin.backward(tape, dy).params
            np.testing.assert_array_equal(losses[m], loss)
            np.testing.assert_array_equal(gradients.flat[m], own.flat)
            is_model = isinstance(twin, fg.Sequential)
            own_adam.step(twin.params.layers, twin.params.split(own)) if is_model else own_adam.step(
                [twin.params], [own]
            )
    np.testing.assert_array_equal(ensemble.flat, np.stack([twin.params.flat for twin in twins]))


def test_odd_calls():
    """One member; no sequence; no step; x that is not contiguous; states of each member; integers without gradient."""
    rng = np.random.default_rng(0)
    for member in (fg.LSTM(3, 4, seed=0), fg.Sequential(fg.LSTM(3, 4, seed=0), fg.Linear(4, 2, seed=1))):
        for count, shape in ((1, (1, 4, 3)), (2, (0, 4, 3)), (2, (2, 0, 3)), (2, (4, 3))):
            ensemble, x = fg.Ensemble.of(member, count, seed=0), rng.standard_normal((*shape[:-1], 6))[..., ::2]
            y, _, tape = ensemble.forward(x)
            np.testing.assert_array_equal(y, np.stack([own.forward(x)[0] for own in ensemble.members]))
            assert ensemble.backward(tape, y).params.flat.shape == ensemble.flat.shape
            h = rng.standard_normal((count, 1, *shape[:-2], 4))
            state = (h, None) if isinstance(member, fg.LSTM) else ((h, None),)
            losses, _ = ensemble.gradients(lambda y, m: (m, np.ones_like(y)), x, state)
            np.testing.assert_array_equal(losses, np.arange(count))
    words = fg.Ensemble.of(fg.Sequential(fg.Embedding(5, 3, seed=0), fg.GRU(3, 4, seed=0)), 2, seed=0)
    y, _, tape = words.forward(np.array([[1, 4, 0]]))
    assert words.backward(tape, y).x is None


def test_what_is_wrong_is_named():
    layer = fg.GRU(3, 4)
    ensemble = fg.Ensemble([layer, fg.GRU(3, 4)])
    x = np.ones((B, T, 3))
    for make_wrong, error, expected in [
        (lambda: fg.Ensemble([]), ValueError, "at least one"),
        (lambda: fg.Ensemble([layer, fg.Linear(3, 4)]), TypeError, r"members\[1\]"),
        (lambda: fg.Ensemble([layer, layer]), ValueError, r"members\[1\]: .*, got some that members\[0\] has, too$"),
        (lambda: fg.Ensemble(layer), TypeError, "members: expected an iterable of layers or models, got GRU"),
        (lambda: ensemble.split(3), TypeError, "gradients: expected the params that backward returned.*, got int"),
        (lambda: ensemble.split(layer.params), TypeError, "gradients: .*, got Params"),
        (
            lambda: ensemble.split(layer.backward(layer.forward(x)[2], x[..., :1] * np.ones(4)).params),
            ValueError,
            "gradients: .*shape",
        ),
        (lambda: fg.Ensemble([layer, copy.copy(layer)]), ValueError, r"members\[1\]"),
        (lambda: fg.Ensemble([layer, fg.GRU(3, 5)]), ValueError, r"members\[1\].hidden_size: expected 4"),
        (lambda: fg.Ensemble([layer, fg.GRU(3, 4, dtype="float64")]), ValueError, r"members\[1\].dtype"),
        (
            lambda: fg.Ensemble([layer, fg.LSTM(3, 4)]),
            ValueError,
            r": expected 'GRU', as members\[0\] has, got 'LSTM'$",
        ),
        (lambda: fg.Ensemble([layer, fg.Sequential(fg.GRU(3, 4))]), ValueError, r"members\[1\]: expected"),
        (lambda: fg.Ensemble([fg.Sequential(layer), fg.Sequential(layer)]), ValueError, r"members\[1\]: .* its own"),
        (
            lambda: fg.Ensemble([fg.Sequential(layer), fg.Sequential(fg.GRU(3, 5))]),
            ValueError,
            r"members\[1\].layers\[0\].hidden_size",
        ),
        (
            lambda: fg.Ensemble([fg.Sequential(layer), fg.Sequential(fg.GRU(3, 4), fg.FinalState())]),
            ValueError,
            r"members\[1\].layers: expected \['GRU'\].*, got \['GRU', 'FinalState'\]$",
        ),
        (lambda: fg.Ensemble([layer.quantized("int8")]), TypeError, "quantized"),
        (lambda: ensemble.gradients(None, x), TypeError, "loss"),
        (lambda: ensemble.gradients(lambda y, m: 0.0, x), TypeError, "loss"),
        (lambda: ensemble.gradients(lambda y, m: (0.0, y[0]), x), ValueError, "dy"),
        (lambda: ensemble(x, each=True, lengths=[9, 9]), ValueError, "lengths"),
        (lambda: ensemble(np.ones((3, B, T, 3)), each=True), ValueError, "one for each member"),
        (lambda: ensemble(x, np.ones((3, 1, B, 4))), ValueError, "state"),
        (lambda: ensemble.backward(ensemble.forward(x)[2]), ValueError, "dy, dstate"),
        (lambda: setattr(ensemble, "flat", np.ones(3)), ValueError, "flat"),
    ]:
        with pytest.raises(error, match=expected):
            make_wrong()
