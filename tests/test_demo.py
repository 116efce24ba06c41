"""The demo: what it learns and says, its comparison with PyTorch, and Ctrl-C."""

import re
import signal
from importlib.util import find_spec

import numpy as np
import pytest
from command_line_tools import ROOT, TINY, finish, held_out_bits, start, write_counting

from fastgate import _info, _terminal
from fastgate.__main__ import main
from fastgate.demo import program

SHAKESPEARE = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"


@pytest.fixture
def counting(tmp_path):
    return write_counting(tmp_path)


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
    assert len(sample.rstrip("\n")) == program.SAMPLE
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
    lines = re.findall(r"^training +(\d+)%  step (\d+), ", capsys.readouterr().err, re.MULTILINE)
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


def test_demo_without_torch_says_what_it_would_do(counting, capsys, monkeypatch):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    assert main(["--text", counting, *TINY[1:], "--steps", "5"]) == 0
    assert "with PyTorch installed" in capsys.readouterr().out


def test_ctrl_c_ends_with_what_was_learnt(counting):
    process = start("--text", counting, *TINY, "--seconds", "600")
    for line in process.stderr:
        if " step 1, " in line:
            break
    process.send_signal(signal.SIGINT)
    code, output, errors = finish(process)
    assert code == 0, errors
    assert len(held_out_bits(output)) == 3
    assert len(output.partition("temperature 0.8:\n\n")[2].rstrip("\n")) == program.SAMPLE
    assert "Traceback" not in errors


def test_first_ctrl_c_is_a_request_and_the_second_an_interruption():
    started = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it would be ignored
    try:
        with _terminal.Interruption() as ctrl_c:
            assert not ctrl_c.requested
            signal.raise_signal(signal.SIGINT)
            assert ctrl_c.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, started)


def test_a_request_ends_the_training(counting, capsys, monkeypatch):
    class Impatient(_terminal.Progress):
        def update(self, fraction, steps, bits):
            if steps == 12:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(program, "Progress", Impatient)
    assert main(["--text", counting, *TINY[1:], "--steps", "100"]) == 0
    output = capsys.readouterr().out
    assert "trained    12 steps" in output
    assert len(held_out_bits(output)) == 3


def test_interruption_outside_the_training(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(_info, "run", interrupted)
    assert main(["info"]) == 130
    assert "interrupted" in capsys.readouterr().err
