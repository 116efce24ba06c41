"""Masks in models: who makes them, who hands them on, and what training makes of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg

rng = np.random.default_rng(0)
F64 = {"dtype": "float64"}
IDS = np.array([[0, 3, 0, 0, 2, 1], [4, 1, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 1, 2]])
MASK = IDS != 0
B, T = IDS.shape


def tagger(*, batch_first=True, dtype="float64"):
    """What a model of Keras becomes."""
    options = {"batch_first": batch_first, "dtype": dtype}
    return fg.Sequential(
        fg.Embedding(5, 3, mask_zero=True, seed=0, dtype=dtype),
        fg.Dropout(0.3, seed=1, same_every_step=True, batch_first=batch_first),
        fg.LSTM(3, 2, seed=2, **options),
        fg.RepeatPast(batch_first),
        fg.GRU(2, 3, bidirectional=True, seed=3, **options),
        fg.MergeDirections("mul"),
        fg.Linear(3, 2, seed=4, dtype=dtype),
    )


def wave(**options):
    """One that gets its mask with x, and its twin where x is made for it."""
    return fg.Sequential(fg.Linear(3, 3, seed=0, **F64), fg.LSTM(3, 2, seed=1, **F64, **options), fg.RepeatPast())


# -------------------------------------------------------------------------------------------------- through a model


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, [6, 2, 0, 5]], ids=["full", "ragged"])
def test_gradients_of_a_whole_model(batch_first, lengths):
    model = tagger(batch_first=batch_first)
    ids = IDS if batch_first else IDS.T
    y, tape = model.forward(ids, lengths=lengths, rng_key=1)
    counting = MASK if lengths is None else MASK & (np.arange(T) < np.array(lengths)[:, None])
    assert np.array_equal(tape.mask, counting if batch_first else counting.T)
    dy = rng.standard_normal(y.shape)
    found = model.backward(tape, dy).params.flat

    def loss():
        return float((model.forward(ids, lengths=lengths, rng_key=1)[0] * dy).sum())

    assert_close(found, in_params(model.params, loss))


def test_a_given_mask_is_that_of_lengths_to_the_last_bit():
    model, lengths, x = wave(), [6, 2, 0, 5], rng.standard_normal((B, T, 3))
    mask = np.arange(T) < np.array(lengths)[:, None]
    x[~mask] = np.nan
    (y, ragged), (y_too, masked) = model.forward(x, lengths=lengths), model.forward(x, mask=mask)
    assert y.tobytes() == y_too.tobytes() == model(x, mask=mask).tobytes() == model.run(x, mask=mask)[0].tobytes()
    assert np.array_equal(ragged.mask, mask)
    assert np.array_equal(masked.mask, mask)
    dy = rng.standard_normal(y.shape)
    expected, found = model.backward(ragged, dy), model.backward(masked, dy)
    assert expected.params.flat.tobytes() == found.params.flat.tobytes()
    assert expected.x.tobytes() == found.x.tobytes()
    assert np.isfinite(found.params.flat).all()
    assert not found.x[~mask].any()
    assert np.array_equal(model(x[0], mask=mask[0]), y[0])  # unbatched


def test_masked_steps_change_nothing():
    model, x = fg.Sequential(fg.Masking(), wave(bidirectional=True)), rng.standard_normal((B, T, 3))
    x[~MASK] = 0
    y, tape = model.forward(x)
    assert np.array_equal(tape.mask, MASK)
    assert np.array_equal(y, wave(bidirectional=True)(x, mask=MASK))
    dy = rng.standard_normal(y.shape)
    dx = model.backward(tape, dy).x
    at = MASK[..., None] & np.ones(3, bool)
    assert_close(dx[at], differences(lambda: float((model(x) * dy)[MASK.any(axis=1)].sum()), x)[at])
    assert not dx[~at].any()


def test_which_mask_reaches_the_end():
    embedding, gru = fg.Embedding(5, 3, mask_zero=True), fg.GRU(3, 2)
    for layers, expected in (
        ((gru,), MASK),
        ((gru, fg.FinalState()), None),
        ((gru, fg.Reverse()), MASK[:, ::-1]),
        ((fg.Reverse(), gru, fg.Reverse()), MASK),
    ):
        assert np.array_equal(fg.Sequential(embedding, *layers).forward(IDS)[1].mask, expected)
    assert fg.Sequential(fg.Embedding(5, 3), gru).forward(IDS)[1].mask is None


def test_final_state_under_a_mask():
    """It is that of the steps that count, and the mask ends with time."""
    model = fg.Sequential(
        fg.Embedding(5, 3, mask_zero=True, seed=0), fg.Reverse(), fg.GRU(3, 2, seed=1), fg.FinalState()
    )
    y, plain = model(IDS), fg.Sequential(fg.Embedding(5, 3, seed=0), fg.GRU(3, 2, seed=1), fg.FinalState())
    for row, ids in zip(y, IDS, strict=True):
        assert np.array_equal(row, plain(ids[ids != 0][None, ::-1])[0])


def test_lengths_reversed_are_padding_in_front():
    x, lengths, gru = rng.standard_normal((B, T, 3)), [6, 2, 0, 5], fg.GRU(3, 2, seed=1, **F64)
    for row, length in enumerate(lengths):
        x[row, length:] = np.nan
    y = fg.Sequential(fg.Reverse(), gru)(x, lengths)
    for row, length in enumerate(lengths):
        assert np.array_equal(y[row, T - length :], gru(x[row, :length][::-1])[0])
        assert not y[row, : T - length].any()


@pytest.mark.parametrize("unbatched", [False, True])
def test_stepping_is_running_the_whole(unbatched):
    layers = fg.LSTM(3, 2, 2, seed=1, **F64), fg.Linear(2, 2, seed=2, **F64), fg.GRU(2, 3, seed=3, **F64)
    ids = IDS[0] if unbatched else IDS
    for model, x in (
        (fg.Sequential(fg.Embedding(5, 3, mask_zero=True, seed=0, **F64), *layers), ids),
        (fg.Sequential(fg.Masking(), *layers), np.where(ids != 0, 1.0, 0.0)[..., None] * np.ones(3)),
    ):
        y, end = model.run(x)
        state, outputs = None, []
        for t in range(T):
            out, state = model.step(x[t] if unbatched else x[:, t], state)
            outputs.append(out)
        assert np.array_equal(np.stack(outputs, 0 if unbatched else 1), y)
        assert np.array_equal(state[0][1], end[0][1])
        assert np.array_equal(state[1], end[1])
    with complaint(ValueError, "step", "layer 3 (RepeatPast)"):
        tagger().step(IDS[:, 0])


def test_saved_and_loaded(tmp_path):
    model = tagger()
    fg.save(tmp_path / "model.safetensors", model)
    assert np.array_equal(fg.load(tmp_path / "model.safetensors")(IDS), model(IDS))


# ------------------------------------------------------------------------------------------------------ own layers


class Spy:
    """Hands its input on, and keeps what it is told."""

    def __init__(self, seen):
        self.seen = seen

    def forward(self, x, *, mask, **options):
        self.seen.append((options.get("lengths"), mask))
        return x, None

    def backward(self, tape, dy):
        return SimpleNamespace(x=dy)


class SpyOfMasks(Spy):
    def forward(self, x, *, mask):
        return super().forward(x, mask=mask)


class Every2nd(Spy):
    def compute_mask(self, x, mask):
        return mask & (np.arange(np.shape(x)[1]) % 2 == 0)


class OfLengths(Spy):
    def forward(self, x, *, lengths=None):
        return x, None


def test_layers_of_ones_own():
    seen = []
    model = fg.Sequential(fg.Embedding(5, 3, mask_zero=True), Every2nd(seen), fg.GRU(3, 2), SpyOfMasks(seen))
    mask = model.forward(IDS)[1].mask
    assert np.array_equal(mask, MASK & (np.arange(T) % 2 == 0))
    assert seen[0] == (None, seen[0][1])
    assert np.array_equal(seen[0][1], MASK)
    assert np.array_equal(seen[1][1], mask)
    seen.clear()
    fg.Sequential(Spy(seen), SpyOfMasks(seen))(np.ones((B, T, 1)), [6, 2, 0, 5])
    assert seen[0][0].tolist() == [6, 2, 0, 5]
    assert seen[0][1] is None
    assert seen[1][1].sum(axis=1).tolist() == [6, 2, 0, 5]
    model = fg.Sequential(fg.Embedding(5, 3, mask_zero=True), OfLengths([]))
    with complaint(ValueError, "layer 1 (OfLengths)", "takes mask", "lengths alone"):
        model(IDS)
    Every2nd.compute_mask = lambda self, x, mask: np.ones(3)
    with complaint(TypeError, "layer 0 (Every2nd).compute_mask", "booleans", "float64"):
        fg.Sequential(Every2nd([]), fg.Linear(1, 1))(np.ones((B, T, 1)))


# -------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("batch_first", [True, False])
def test_what_is_masked_does_not_count(batch_first):
    model, target = tagger(batch_first=batch_first, dtype="float32"), rng.integers(0, 2, (B, T))
    ids = IDS if batch_first else IDS.T
    y = model(ids) if batch_first else model(ids).swapaxes(0, 1)
    expected = fg.cross_entropy(y, target, mask=MASK)[0]
    nonsense = np.where(MASK, target, -1)
    options = {"loss": "cross_entropy", "metrics": "accuracy"}
    nonsense = nonsense if batch_first else nonsense.T
    for size in (1, 3, 4):  # the third sequence alone is a batch in which nothing counts
        found = model.evaluate(ids, nonsense, batch_size=size, **options)
        assert found["loss"] == pytest.approx(expected)
        assert found["accuracy"] == fg.accuracy(y, target, mask=MASK)
    weights = rng.random(B)
    found = model.evaluate(ids, nonsense, weights=weights, batch_size=3, **options)["loss"]
    assert found == pytest.approx(fg.cross_entropy(y, target, mask=MASK, weights=weights)[0])
    history = model.fit(ids, nonsense, optimizer=fg.Adam(0.05), epochs=3, batch_size=1, **options)
    assert history["loss"][-1] < history["loss"][0]


def test_training_on_lists_of_sequences():
    model, ids = tagger(dtype="float32"), [row[:n] for row, n in zip(IDS, [6, 3, 2, 4], strict=True)]
    target = [row % 2 for row in ids]
    whole = sum(fg.cross_entropy(model(x[None])[0], t, mask=x != 0)[0] * (x != 0).sum()
                for x, t in zip(ids, target, strict=True) if x.any())  # fmt: skip
    found = model.evaluate(ids, target, loss="cross_entropy")["loss"]
    assert found == pytest.approx(whole / sum((x != 0).sum() for x in ids), rel=1e-5)
    assert [len(y) for y in model.predict(ids)] == [6, 3, 2, 4]


def test_encoder_decoder():
    """Each of the two has its own mask; that of the decoder says what counts."""
    encoder = fg.Sequential(fg.Embedding(5, 3, mask_zero=True, seed=0), fg.GRU(3, 2, seed=1))
    decoder = fg.Sequential(fg.Embedding(5, 3, mask_zero=True, seed=2), fg.GRU(3, 2, seed=3), fg.Linear(2, 5, seed=4))
    model, source = fg.EncoderDecoder(encoder, decoder), np.where(MASK, IDS, 0)[:, ::-1]
    y, tape = model.forward((source, IDS))
    assert np.array_equal(tape.mask, MASK)
    short = [np.array([[i for i in row if i]]) for row in source]
    for row in (0, 1, 3):
        assert np.array_equal(model((short[row], IDS[row : row + 1]))[0], y[row])
    found = model.evaluate((source, IDS), IDS, loss="cross_entropy")["loss"]
    assert found == pytest.approx(fg.cross_entropy(y, IDS, mask=MASK)[0])


# ------------------------------------------------------------------------------------------------------ complaints


def test_complaints():
    final = fg.GRU(3, 2), fg.FinalState()
    for part in (fg.RepeatPast(), fg.Reverse(), fg.Dropout(same_every_step=True)):
        with complaint(ValueError, f"layer 2 ({type(part).__name__})", "time steps", "FinalState"):
            fg.Sequential(*final, part)
    with complaint(ValueError, "layer 1 (MergeDirections)", "even", "3"):
        fg.Sequential(fg.Linear(2, 3), fg.MergeDirections("sum"))
    with complaint(ValueError, "layer 2 (Linear)", "1 features", "3"):
        fg.Sequential(*final[:1], fg.MergeDirections("sum"), fg.Linear(3, 2))
    with complaint(ValueError, "layer 1 (Reverse)", "batch_first=False", "True"):
        fg.Sequential(fg.GRU(3, 2, batch_first=False), fg.Reverse())
    assert not fg.Sequential(fg.GRU(3, 2, batch_first=False), fg.Dropout()).batch_first
    model = wave()
    with complaint(ValueError, "mask", "None beside lengths"):
        model(np.ones((B, T, 3)), [1] * B, mask=MASK)
    with complaint(ValueError, "mask", f"({B}, {T})", f"({T}, {B})"):
        model(np.ones((B, T, 3)), mask=MASK.T)
    masked = fg.Sequential(fg.Embedding(5, 3, mask_zero=True), fg.GRU(3, 2))
    with complaint(ValueError, "layer 0 (Embedding)", "mask_zero=False"):
        fg.to_torch(masked, as_state_dict=True)


def test_a_mask_of_sequences_is_none_of_steps():
    """Even where no layer would look at it."""
    model = fg.Sequential(fg.Linear(3, 2))
    with complaint(ValueError, "mask", "(4, 6)", "got (4,)"):
        model(np.ones((B, T, 3)), mask=np.ones(B, bool))


def test_weights_of_masked_steps_do_not_count():
    """However the samples are cut into batches."""
    model = fg.Sequential(fg.Embedding(5, 3, mask_zero=True, seed=0, **F64), fg.LSTM(3, 2, seed=1, **F64))
    weights, y = rng.uniform(1, 2, (B, T)), rng.integers(0, 2, (B, T))
    options = {"loss": "cross_entropy", "weights": weights}
    expected = fg.cross_entropy(model(IDS), y, weights=np.where(MASK, weights, 0))[0]
    for size in (1, B):
        assert_close(np.array([model.evaluate(IDS, y, **options, batch_size=size)["loss"]]), np.array([expected]))


@pytest.mark.parametrize("mask", [np.ones((B, T, 3), bool), np.ones(B, bool), np.ones((T, B), bool)], ids=np.shape)
def test_a_made_mask_is_that_of_the_steps(mask):
    """Or training would count what it should not."""

    class Wrong(OfLengths):
        def compute_mask(self, x, before):
            return mask

    model, place = fg.Sequential(Wrong([]), fg.Linear(3, 2)), "layer 0 (Wrong).compute_mask"
    with complaint(ValueError, place, "(4, 6)", f"got {mask.shape}"):
        model.forward(np.ones((B, T, 3)))
