"""The command line: the demo, `info` and `warmup`, in this process where possible."""

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastgate
from fastgate import _charlm, _charlm_torch, _demo, _info, _terminal, _text, _training, _warmup
from fastgate.__main__ import main
from fastgate._kernels import cpu

ROOT = Path(__file__).parents[1]
SHAKESPEARE = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"
TINY = ["--no-torch", "--hidden", "16", "--batch", "8", "--seq-len", "16", "--cell", "rnn"]
BITS = re.compile(r"^ +(\d+\.\d\d)  (every symbol|each as frequent|\w+\()", re.MULTILINE)


@pytest.fixture
def counting(tmp_path):
    """A text in which the next character is nearly always certain."""
    path = tmp_path / "counting.txt"
    path.write_text("".join(f"{n % 10}, " for n in range(5000)))
    return str(path)


def held_out_bits(output):
    """(uniform, unigram, the model's)"""
    found = BITS.findall(output)
    assert [name for _, name in found][:2] == ["every symbol", "each as frequent"]
    assert len(found) == 3
    return [float(bits) for bits, _ in found]


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "fastgate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def finish(process):
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


# ------------------------------------------------------------------------------------------------------- the demo


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_demo_learns_what_can_be_learnt(counting, capsys, cell):
    assert main(["--text", counting, *TINY[:-1], cell, "--hidden", "32", "--steps", "250"]) == 0
    output = capsys.readouterr().out
    uniform, unigram, model = held_out_bits(output)
    # 10 digits, a comma and a space, and the unknown symbol; every third character is each of the last two.
    assert uniform == pytest.approx(np.log2(13), abs=0.01)
    assert unigram == pytest.approx(np.log2(3) + np.log2(10) / 3, abs=0.01)
    assert model < 0.4 * unigram
    assert f"{250 * 8 * 16:,} characters in" in output
    sample = output.partition("temperature 0.8:\n\n")[2]
    assert len(sample.rstrip("\n")) == _demo.SAMPLE
    assert re.search(r"\d, \d, \d, \d, ", sample), sample


def test_demo_runs_for_a_time(counting, capsys):
    assert main(["--text", counting, *TINY, "--seconds", "0.5"]) == 0
    seconds = float(re.search(r"characters in (\d+\.\d) s", capsys.readouterr().out)[1])
    assert seconds >= 0.5


def test_demo_of_a_number_of_steps_is_repeatable(counting, capsys):
    outputs = []
    for _ in range(2):
        main(["--text", counting, *TINY, "--steps", "30", "--seed", "3"])
        outputs.append(capsys.readouterr().out.partition("bits per character")[2])
    assert outputs[0] == outputs[1]
    main(["--text", counting, *TINY, "--steps", "30", "--seed", "4"])
    assert outputs[0] != capsys.readouterr().out.partition("bits per character")[2]


def test_demo_says_how_far_it_is(counting, capsys):
    main(["--text", counting, *TINY, "--steps", "40"])
    lines = re.findall(r"^fastgate +(\d+)%  step (\d+), ", capsys.readouterr().err, re.MULTILINE)
    expected = [(2, 1)] + [(10 * n, 4 * n) for n in range(1, 11)]
    assert [(int(percent), int(step)) for percent, step in lines] == expected


def test_demo_on_the_standard_library(capsys):
    assert main([*TINY, "--steps", "60"]) == 0
    output = capsys.readouterr().out
    assert "modules of Python's standard library" in output
    assert held_out_bits(output)[2] < held_out_bits(output)[0]


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="no ../shared/data/tinyshakespeare.txt beside the checkout")
def test_demo_on_shakespeare_beats_the_unigram_baseline(capsys):
    arguments = ["--no-torch", "--hidden", "64", "--batch", "16", "--seq-len", "32", "--steps", "300"]
    assert main(["--text", str(SHAKESPEARE), *arguments]) == 0
    uniform, unigram, model = held_out_bits(capsys.readouterr().out)
    # Measured: 6.04, 4.85 and 2.97.
    assert model < unigram - 1 < uniform - 1


def test_demo_compares_with_torch(counting, capsys, tmp_path):
    pytest.importorskip("torch")
    plot = tmp_path / "losses.png"
    wanted = ["--plot", str(plot)] if find_spec("matplotlib") else []
    assert main(["--text", counting, *TINY[1:], "--steps", "60", *wanted]) == 0
    output = capsys.readouterr().out
    row = r"^  {} +([\d,]+)   (\d+\.\d+)$"
    (ours, our_loss), (theirs, their_loss) = (
        re.search(row.format(name), output, re.MULTILINE).groups() for name in ("fastgate", "PyTorch")
    )
    # The same weights, batches and rates: float32 rounding grows, but slowly in 60 steps.
    assert float(our_loss) == pytest.approx(float(their_loss), rel=0.01)
    ratio = float(re.search(r"^  ratio +(\d+\.\d\d)x$", output, re.MULTILINE)[1])
    assert ratio == pytest.approx(int(ours.replace(",", "")) / int(theirs.replace(",", "")), rel=0.02, abs=0.01)
    if wanted:
        assert plot.read_bytes().startswith(b"\x89PNG")


def test_torch_is_stopped_when_it_takes_too_long(counting, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(_training, "by_time", lambda seconds: lambda run: run.steps / 7)
    assert main(["--text", counting, *TINY[1:], "--steps", "20"]) == 0
    assert "(out of time after 7 of 20 steps; losses are those after 7)" in capsys.readouterr().out


def test_demo_without_torch_says_what_it_would_do(counting, capsys, monkeypatch):
    monkeypatch.setattr(_demo.importlib.util, "find_spec", lambda name: None)
    assert main(["--text", counting, *TINY[1:], "--steps", "5"]) == 0
    assert "with PyTorch installed" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_ends_with_what_was_learnt(counting):
    process = start("--text", counting, *TINY, "--seconds", "600")
    for line in process.stderr:
        if " step 1, " in line:
            break
    process.send_signal(signal.SIGINT)
    code, output, errors = finish(process)
    assert code == 0, errors
    assert len(held_out_bits(output)) == 3
    assert len(output.partition("temperature 0.8:\n\n")[2].partition("\n\nInterrupted")[0]) == _demo.SAMPLE
    assert "Traceback" not in errors


def test_first_ctrl_c_is_a_request_and_the_second_an_interruption():
    before = signal.getsignal(signal.SIGINT)
    with _terminal.Interruption() as ctrl_c:
        assert not ctrl_c.requested
        signal.raise_signal(signal.SIGINT)
        assert ctrl_c.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_request_ends_the_training(counting, capsys, monkeypatch):
    class Impatient(_terminal.Progress):
        def update(self, fraction, steps, bits):
            if steps == 12:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_demo, "Progress", Impatient)
    assert main(["--text", counting, *TINY[1:], "--steps", "100"]) == 0
    output = capsys.readouterr().out
    assert "trained    12 steps" in output
    assert "no comparison with PyTorch" in output
    assert len(held_out_bits(output)) == 3


def test_interruption_outside_the_training(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(_info, "run", interrupted)
    assert main(["info"]) == 130
    assert "interrupted" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"too short", "too short: 9 characters"),
        (b"\x7fELF\0\0\0" + bytes(1000), "is not a text file"),
        ("In UTF-16. ".encode("utf-16") * 1000, "is not a text file"),
    ],
    ids=["empty", "short", "binary", "utf-16"],
)
def test_texts_that_cannot_be_learnt(tmp_path, capsys, content, message):
    path = tmp_path / "text"
    path.write_bytes(content)
    assert main(["--text", str(path), *TINY]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("fastgate: error: ")
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", ["missing.txt", ".", "missing/file.txt"])
def test_texts_that_cannot_be_read(tmp_path, capsys, name):
    assert main(["--text", str(tmp_path / name), *TINY]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("fastgate: error: cannot read ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", ["losses", "losses.txt", "missing/losses.png"])
def test_plots_that_cannot_be_written_are_refused_before_the_training(tmp_path, counting, capsys, name):
    pytest.importorskip("matplotlib")
    assert main(["--text", counting, *TINY, "--plot", str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("fastgate: error: --plot ")
    assert printed.out == ""


def test_plot_needs_matplotlib(counting, capsys, monkeypatch):
    monkeypatch.setattr(_demo.importlib.util, "find_spec", lambda name: None)
    assert main(["--text", counting, *TINY, "--plot", "losses.png"]) == 2
    assert "pip install 'fastgate[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hidden", "0"],
        ["--hidden", "-3"],
        ["--hidden", "many"],
        ["--hidden", "1.5"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--seconds", "inf"],
        ["--seconds", "1", "--steps", "1"],
        ["--cell", "transformer"],
        ["--seed", "-1"],
        ["--no-such-option"],
        ["no-such-command"],
        ["--hidden", "16", "info"],
        ["info", "--hidden", "16"],
        ["warmup", "--cell", "transformer"],
        ["warmup", "--dtype", "float16"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "fastgate: error: " in capsys.readouterr().err.replace("fastgate info:", "fastgate:").replace(
        "fastgate warmup:", "fastgate:"
    )


def test_a_closed_pipe_is_no_traceback(counting):
    process = start("--text", counting, *TINY, "--steps", "5")
    process.stdout.close()
    process.stdout = None
    code, _, errors = finish(process)
    assert code == 1
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


def test_a_terminal_without_unicode(tmp_path):
    path = tmp_path / "text"
    path.write_text("żółć " * 2000, "utf-8")
    code, output, errors = finish(start("--text", str(path), *TINY, "--steps", "5", PYTHONIOENCODING="ascii"))
    assert code == 0, errors
    assert "?" in output


# ------------------------------------------------------------------------------------------------- info and warmup


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fastgate {fastgate.__version__}\n"


def test_info(capsys):
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    for expected in (fastgate.__version__, np.__version__, cpu.features.INSTRUCTION_SET, "numba", "llvmlite", "scipy"):
        assert expected in output
    told = _info.describe()
    assert told["vectors"].startswith(f"{8 * cpu.features.VECTOR_BYTES} bits: {cpu.features.VECTOR_BYTES // 4} float32")
    assert told["threads"] == str(fastgate.get_num_threads())
    assert re.fullmatch("[0-9a-f]{12}", told["kernel sources"])


def test_info_without_a_cache():
    code, output, errors = finish(start("info", FASTGATE_CACHE="0"))
    assert code == 0, errors
    assert re.search(r"^kernel cache +off \(FASTGATE_CACHE=0\)$", output, re.MULTILINE)


def test_warmup_without_a_cache_is_refused():
    code, output, errors = finish(start("warmup", FASTGATE_CACHE="0"))
    assert (code, output) == (2, "")
    assert "nothing would be kept" in errors


def test_warmup_knows_every_cell():
    assert set(_warmup.LAYERS) == set(cpu.CELLS)
    for name, (make, options) in _warmup.LAYERS.items():
        assert make(1, 1, **options)._cell is cpu.CELLS[name]


def test_warmup_leaves_nothing_to_compile(counting, capsys):
    assert main(["warmup", "--cell", "rnn_tanh", "rnn_tanh", "--dtype", "float32"]) == 0
    assert len(re.findall(r"^rnn_tanh +float32 +\d+\.\d s$", capsys.readouterr().out, re.MULTILINE)) == 1
    code, _, errors = finish(start("--text", counting, *TINY, "--steps", "5"))
    assert code == 0, errors
    assert "compiling" not in errors


COUNT = """
import gc, numpy as np, fastgate as fg
from fastgate import _warmup
from numba.core.dispatcher import Dispatcher
def versions():
    return {(id(d), str(s)) for d in gc.get_objects() if isinstance(d, Dispatcher)
            and d.py_func.__module__.startswith("fastgate.kernels") for s in d.overloads}
_warmup.warm_up("gru", "float32")
before = versions()
layer = fg.GRU(5, 40, 3, bidirectional=True, dropout=0.2, batch_first=False, bias="single", seed=0)
x = np.ones((70, 9, 5), np.float32)
x.flags.writeable = False
y, state, tape = layer.forward(x, rng_key=1)
layer.backward(tape, dstate=state)
layer(x[::2, ::2], lengths=np.arange(5))
layer(x[:, 0])
one = fg.GRU(5, 40)
one.step(x[0]), one.step(x[0, 0])
print(len(before), len(versions() - before))
"""


def test_warmup_compiles_all_that_other_arrays_and_options_need():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, cwd=ROOT, check=True)
    before, new = map(int, done.stdout.split())
    assert before > 5
    assert new == 0


# ------------------------------------------------------------------------------------------------ text and batches


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
    assert _text.read_file(path).text == text


def test_long_text_is_cut_between_characters(tmp_path, monkeypatch):
    path = tmp_path / "text"
    path.write_text("ééé", "utf-8")
    monkeypatch.setattr(_text, "MOST_BYTES", 5)
    assert _text.read_file(path) == ("text", "éé", True)


def test_rare_characters_are_one_symbol():
    text = "".join(chr(0x4E00 + n) * (n + 1) for n in range(300))
    vocabulary = _text.Vocabulary(np.frombuffer(text.encode("utf-32-le"), np.uint32))
    assert len(vocabulary) == _text.MOST_SYMBOLS
    codes = vocabulary.encode(np.array([0x4E00, 0x4E00 + 299, 0x4E00 + 101, 0x4E00 + 100, 0x10FFFF, 0], np.uint32))
    known = [vocabulary.characters[code] for code in codes]
    assert known == [_text.UNKNOWN, chr(0x4E00 + 299), chr(0x4E00 + 101), *[_text.UNKNOWN] * 3]


def test_batches_continue_one_another():
    codes = np.arange(53)
    stream = _text.batches(codes, 4, 3)
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
    held_out = len(text) // _text.HELD_OUT
    _text.prepare(_text.Corpus("", text, False), 3, (len(text) - held_out) // 3 - 1)
    with pytest.raises(_terminal.UserError, match="too short"):
        _text.prepare(_text.Corpus("", text, False), 3, (len(text) - held_out) // 3)
    with pytest.raises(_terminal.UserError, match="too short"):
        _text.prepare(_text.Corpus("", "a" * needed, False), 3, 4)


def test_bits_of_a_stream_do_not_depend_on_how_it_is_cut(monkeypatch):
    model = _charlm.CharModel(_charlm.Sizes(7, "rnn", 16, 1, 0))
    codes = np.random.default_rng(0).integers(0, 7, 50)
    whole = model.bits(codes)
    monkeypatch.setattr(_charlm, "EVALUATED", 8)
    # The float32 losses of the parts are averaged in another order.
    assert model.bits(codes) == pytest.approx(whole, rel=1e-5)


def test_torch_model_starts_where_ours_does():
    torch = pytest.importorskip("torch")
    sizes = _charlm.Sizes(7, "rnn", 16, 1, 0)
    ours = _charlm.CharModel(sizes)
    theirs = _charlm_torch.TorchCharModel(torch, sizes, [dict(params) for params in ours.params])
    x, target = np.random.default_rng(0).integers(0, 7, (2, 3, 5))
    state, peer_state = None, None
    for rate in (1e-2, 1e-3):
        loss, state = ours.train(x, target, state, rate)
        peer_loss, peer_state = theirs.train(x, target, peer_state, rate)
        # One float32 rounding is 6e-8; a wrong rate or a lost state shows in the third digit.
        assert loss == pytest.approx(peer_loss, rel=1e-5)


@pytest.mark.parametrize("dangerous", ["\x1b[2J", "\x07", "\x9b"], ids=["escape", "bell", "csi"])
def test_a_sample_cannot_command_the_terminal(dangerous):
    assert all(c.isprintable() for c in _terminal.printable(dangerous))
    assert _terminal.printable("a\n\tb é") == "a\n\tb é"
