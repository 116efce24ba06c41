"""What the demo is made of: text, batches, the training loop, the model."""

import numpy as np
import pytest

from fastgate import _terminal
from fastgate.demo import model as models
from fastgate.demo import text as texts
from fastgate.demo import torch_model, training


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("naïve 🙂".encode(), "naïve 🙂"),
        ("\N{BYTE ORDER MARK}abc".encode(), "abc"),
        ("naïve".encode("latin-1"), "naïve"),
        (b"a\r\nb\n", "a\nb\n"),
    ],
    ids=["utf-8", "bom", "latin-1", "line ends"],
)
def test_text_is_decoded(tmp_path, content, text):
    path = tmp_path / "text"
    path.write_bytes(content)
    assert texts.read_file(path).text == text


def test_long_text_is_cut_between_characters(tmp_path, monkeypatch):
    path = tmp_path / "text"
    path.write_text("ééé", "utf-8")
    monkeypatch.setattr(texts, "MOST_BYTES", 5)
    assert texts.read_file(path) == ("text", "éé", True)


def test_rare_characters_are_one_symbol():
    text = "".join(chr(0x4E00 + n) * (n + 1) for n in range(300))
    vocabulary = texts.Vocabulary(np.frombuffer(text.encode("utf-32-le"), np.uint32))
    assert len(vocabulary) == texts.MOST_SYMBOLS
    codes = vocabulary.encode(np.array([0x4E00, 0x4E00 + 299, 0x4E00 + 101, 0x4E00 + 100, 0x10FFFF, 0], np.uint32))
    known = [vocabulary.characters[code] for code in codes]
    assert known == [texts.UNKNOWN, chr(0x4E00 + 299), chr(0x4E00 + 101), *[texts.UNKNOWN] * 3]


def test_batches_continue_one_another():
    codes = np.arange(53)
    stream = texts.batches(codes, 4, 3)
    taken = [next(stream) for _ in range(5)]
    assert [is_start for is_start, _, _ in taken] == [True, False, False, False, True]
    for _, x, target in taken:
        np.testing.assert_array_equal(target, x + 1)
    np.testing.assert_array_equal(taken[1][1], taken[0][1] + 3)
    np.testing.assert_array_equal(taken[4][1], taken[0][1])
    assert taken[0][1].tolist() == [[0, 1, 2], [13, 14, 15], [26, 27, 28], [39, 40, 41]]


def test_the_shortest_text_that_is_accepted():
    needed = 3 * (4 + 1)
    text = "ab" * 100
    held_out = len(text) // texts.HELD_OUT
    texts.prepare(texts.Corpus("", text, False), 3, (len(text) - held_out) // 3 - 1)
    with pytest.raises(_terminal.UserError, match="too short"):
        texts.prepare(texts.Corpus("", text, False), 3, (len(text) - held_out) // 3)
    with pytest.raises(_terminal.UserError, match="too short"):
        texts.prepare(texts.Corpus("", "a" * needed, False), 3, 4)


def test_bits_of_a_stream_do_not_depend_on_how_it_is_cut(monkeypatch):
    model = models.CharModel(models.Sizes(7, "rnn", 16, 1, 0))
    codes = np.random.default_rng(0).integers(0, 7, 50)
    whole = model.bits(codes)
    monkeypatch.setattr(models, "EVALUATED", 8)
    # The float32 losses of the parts are averaged in another order.
    assert model.bits(codes) == pytest.approx(whole, rel=1e-5)


class Recorder:
    """Stands for a model and for its progress: notes what it is given."""

    def __init__(self):
        self.calls = []

    def train(self, x, target, state, rate):
        self.calls.append((state, rate))
        return float(len(self.calls)), len(self.calls)

    def update(self, *arguments):
        pass

    close = update


def test_training_carries_the_state_until_the_text_starts_again():
    model = Recorder()
    stream = texts.batches(np.arange(53), 4, 3)
    (run,) = training.learn([model], stream, training.by_steps(6), model, _terminal.Interruption())
    states, rates = zip(*model.calls, strict=True)
    assert states == (None, 1, 2, 3, None, 5)
    assert run.losses == [1, 2, 3, 4, 5, 6]
    assert run.characters == 6 * 4 * 3
    assert sorted(rates, reverse=True) == list(rates)
    assert rates[0] == models.LEARNING_RATE > 5 * rates[5] > 0
    assert sorted(run.ends) == run.ends


def test_two_models_take_the_same_steps_in_turn():
    first, second = Recorder(), Recorder()
    runs = training.learn(
        [first, second], texts.batches(np.arange(53), 4, 3), training.by_steps(6), first, _terminal.Interruption()
    )
    assert first.calls == second.calls
    assert [run.steps for run in runs] == [6, 6]


def test_training_time_is_that_of_the_steps_alone(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(training, "perf_counter", lambda: next(clock))
    model = Recorder()
    stream = texts.batches(np.arange(53), 4, 3)
    (run,) = training.learn([model], stream, training.by_time(35), model, _terminal.Interruption())
    assert run.ends == [10, 20, 30, 40]
    assert run.characters_per_second == 12 / 10


def test_a_slow_peer_does_not_hold_up_the_demo():
    plan, ours, theirs = training.by_time(10), training.Run(ends=[2.0]), training.Run(ends=[23.0])
    assert plan([ours]) == 0.2
    assert plan([ours, theirs]) == 25 / (10 * training.PATIENCE)


def test_loss_is_the_mean_of_the_last_steps():
    run = training.Run(losses=[float(n) for n in range(100)])
    assert run.loss(3) == 1.0
    assert run.loss(100) == np.mean(range(50, 100))


def test_baselines():
    text = "aaab" * 100 + "abac" * 5
    data = texts.prepare(texts.Corpus("", text, False), 1, 1)
    assert len(data.held_out) == 21
    assert data.uniform_bits == np.log2(3)  # a, b and the unknown symbol
    # Training: 300 a and 99 b, each and the unknown symbol counted once more. Held out: 10 a, 6 b, 5 unknown.
    bits = -np.log2(np.array([301, 100, 1]) / 402)
    assert data.unigram_bits == pytest.approx(np.dot(bits, [10, 6, 5]) / 21)


def test_torch_model_starts_where_ours_does():
    torch = pytest.importorskip("torch")
    sizes = models.Sizes(7, "rnn", 16, 1, 0)
    ours = models.CharModel(sizes)
    theirs = torch_model.TorchCharModel(torch, sizes, [dict(params) for params in ours.params])
    x, target = np.random.default_rng(0).integers(0, 7, (2, 3, 5))
    state, peer_state = None, None
    for rate in (1e-2, 1e-3):
        loss, state = ours.train(x, target, state, rate)
        peer_loss, peer_state = theirs.train(x, target, peer_state, rate)
        # One float32 rounding is 6e-8; a wrong rate or a lost state shows in the third digit.
        assert loss == pytest.approx(peer_loss, rel=1e-5)


def test_sample_avoids_the_unknown_symbol_and_follows_the_temperature():
    model = models.CharModel(models.Sizes(5, "rnn", 16, 1, 0))
    y, _ = model.recurrent.step(model.embedding(np.array(2)))
    logits = model.output(y).astype(float)

    def firsts(temperature, count):
        draws = (next(model.sample(2, never=4, temperature=temperature, seed=seed)) for seed in range(count))
        return np.bincount(list(draws), minlength=5)

    expected = np.exp(logits[:4] / 0.8) / np.exp(logits[:4] / 0.8).sum()
    counts = firsts(0.8, 2000)
    assert counts[4] == 0
    # Four standard deviations of a share of 2000 draws are at most 0.045; the draws are always the same.
    np.testing.assert_allclose(counts[:4] / 2000, expected, atol=0.045)
    assert firsts(1e-6, 10).tolist() == [10 * (n == np.argmax(logits[:4])) for n in range(5)]


@pytest.mark.parametrize("dangerous", ["\x1b[2J", "\x07", "\x9b"], ids=["escape", "bell", "csi"])
def test_a_sample_cannot_command_the_terminal(dangerous):
    assert all(c.isprintable() for c in _terminal.printable(dangerous))
    assert _terminal.printable("a\n\tb é") == "a\n\tb é"
