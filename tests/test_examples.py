"""The programs of fastgate.examples, each in its small version, on numbers made by rule and on real ones."""

import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from kernel_tools import ROOT

import fastgate as fg
from fastgate.examples import continuous_time, forecast, lstm_or_gru, regression, sum_of_sequence, vanishing_gradient
from fastgate.examples._program import CELLS

DATA = ROOT.parent / "shared" / "data"


def number_after(text, output):
    return float(re.search(text + r".*?(\d+\.\d+)", output)[1])


def errors_in(output, methods):
    """The last column of a table with one line for each method."""
    return [
        float(re.search(rf"^{method}\b.*?(\d+\.\d+)(?: \([\d.]+\))?$", output, re.MULTILINE)[1]) for method in methods
    ]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_sum_of_sequence(output_of, cell):
    output = output_of(sum_of_sequence, "--cell", cell)
    # Ten numbers of variance 1/12 each; who knows only the last five is wrong by 5/12.
    assert number_after("always guessing the mean", output) == pytest.approx(10 / 12, rel=0.1)
    assert number_after("mean squared error on", output) < 0.15


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("readout", ["all", "last"])
def test_regression_of_numbers(output_of, cell, readout):
    output = output_of(regression, "--cell", cell, "--readout", readout)
    # The last step alone explains 36 % of what is squashed: R2 0.4 at most.
    assert number_after("R2:", output) > 0.9


@pytest.mark.parametrize("readout", ["all", "last"])
def test_regression_of_tokens(output_of, readout):
    output = output_of(regression, "--task", "tokens", "--readout", readout, "--cell", "gru")
    assert number_after("accuracy on", output) > 0.9


def test_forecast_beats_both_baselines(output_of):
    ours, persistence, seasonal = errors_in(output_of(forecast), ["LSTM", "persistence", "seasonal"])
    assert ours < 0.6 * min(persistence, seasonal)


def test_comparison_of_cells(output_of):
    output = output_of(lstm_or_gru, "--units", 16)
    lstm, gru, large, persistence, seasonal = errors_in(
        output, ["LSTM", "GRU, 16", "GRU, 1[89]", "persistence", "seasonal"]
    )
    assert "2 epochs, 1 seed\n" in output
    assert "caution" not in output
    assert max(lstm, gru, large) < 0.8 * min(persistence, seasonal)


def test_vanishing_gradient(output_of):
    output = output_of(vanishing_gradient)
    _, drawn, learnt = re.split(r'init="keras"|after learning', output)
    per_step = {
        (name, cell): float(re.search(rf"^  {cell}.* x (.*) a step$", table, re.MULTILINE)[1])
        for name, table in (("drawn", drawn), ("learnt", learnt))
        for cell in ("LSTM dc", "RNN")
    }
    # With a forget gate of about sigmoid(1) = 0.73 and the paths through h beside it.
    assert 0.73 < per_step["drawn", "LSTM dc"] < 0.95
    assert per_step["drawn", "RNN"] < per_step["drawn", "LSTM dc"] < per_step["learnt", "LSTM dc"]


@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_the_jacobian(cell):
    layer = CELLS[cell](vanishing_gradient.FEATURES, 3, dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((5, vanishing_gradient.FEATURES))
    found = vanishing_gradient.norms(layer, x)
    for lag in (1, 4):
        _, before = layer(x[: 5 - lag][None])
        states = before if isinstance(before, tuple) else (before,)
        for number, name in enumerate("hc"[: len(states)]):
            columns = []
            for unit in range(3):
                ends = []
                for shift in (1e-6, -1e-6):
                    moved = [state.copy() for state in states]
                    moved[number][0, 0, unit] += shift
                    start = tuple(moved) if isinstance(before, tuple) else moved[0]
                    ends.append(layer(x[5 - lag :][None], start)[0][0, -1])
                columns.append((ends[0] - ends[1]) / 2e-6)
            assert found[name][lag - 1] == pytest.approx(np.linalg.norm(np.array(columns), 2), rel=1e-6)


def test_continuous_time(output_of):
    output = output_of(continuous_time)
    trained, same, equation = (
        number_after(f"  {name}", output) for name in ("as in training", "the same layer", "as an equation")
    )
    assert max(trained, equation) < 0.1
    assert same > 0.2
    assert float(re.search("largest difference (.*)", output)[1]) < 1e-14
    assert len(set(re.findall(r"quad .* (0\.\d+),", output))) == 1


@pytest.mark.parametrize(
    ("name", "options", "margin"),
    [
        ("monthly-sunspots.csv", ["--season", 132], 1.0),
        ("daily-min-temperatures.csv", ["--season", 365], 0.85),
        ("pollution.csv", ["--season", 24, "--column", "pm2.5", "--missing", "NA", "--epochs", 1], 1.0),
    ],
)
def test_forecast_of_real_series(output_of, name, options, margin):
    if not (DATA / name).exists():
        pytest.skip(f"no ../shared/data/{name} beside the checkout")
    output = output_of(forecast, "--data", DATA / name, *options)
    ours, persistence, seasonal = errors_in(output, ["LSTM", "persistence", "seasonal"])
    assert ours < margin * min(persistence, seasonal)


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        (None, [], "cannot read .*: No such file or directory"),
        ("", [], "holds no table: expected CSV, names in the first line and values below"),
        ("a,b\n", [], "holds no table"),
        ("a,b\n1\n", [], "row 2: expected 2 values, got 1"),
        ("a,b\n1,2\n3,four\n", [], "row 3, column 'b': expected a finite number, got 'four'"),
        ("a,b\n1,inf\n", [], "row 2, column 'b': expected a finite number, got 'inf'"),
        ("a,b\n1,2\n", ["--column", "c"], "expected a column 'c', got 'a, b'"),
        ("a,b\n1,NA\n", ["--missing", "NA"], "expected numbers in column 'b', got none"),
        ("a\n1\n2\n", [], "expected more values beside --window 48 and --horizon 12, got 2"),
        ("a\n" + "1\n" * 200, ["--season", "171"], "--season 171: expected at most 170"),
    ],
)
def test_data_that_cannot_be_read(tmp_path, capsys, text, options, complaint):
    path = tmp_path / "series.csv"
    if text is not None:
        path.write_text(text)
    assert forecast.main(["--data", str(path), "--quick", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(rf"python -m fastgate.examples.forecast: error: .*{complaint}.*\n", printed.err), printed.err


def test_a_constant_series_is_no_error(tmp_path, output_of):
    path = tmp_path / "series.csv"
    path.write_text("a\n" + "1\n" * 200)
    output = output_of(forecast, "--data", path)
    assert errors_in(output, ["persistence"]) == [0.0]
    assert "caution: of the test's 19 windows only 2 have nothing in common" in output


@pytest.mark.parametrize(("step", "code"), [(1, 130), (40, 0)])
def test_ctrl_c_shows_what_was_learnt(capsys, monkeypatch, step, code):
    """In the first epoch nothing was."""
    steps, one = [], fg.Adam.step

    def interrupted(*arguments):
        steps.append(1)
        if len(steps) == step:
            signal.raise_signal(signal.SIGINT)
        one(*arguments)

    monkeypatch.setattr(fg.Adam, "step", interrupted)
    assert sum_of_sequence.main(["--quick"]) == code
    printed = capsys.readouterr()
    assert ("mean squared error on" in printed.out) == ("interrupted: the results are" in printed.out) == (code == 0)
    assert (": interrupted\n" in printed.err) == (code == 130)
    assert steps == [1] * step


def test_list_of_programs():
    done = subprocess.run(
        [sys.executable, "-m", "fastgate.examples"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for program in (forecast, lstm_or_gru, regression, sum_of_sequence, vanishing_gradient):
        assert f"  {program.__name__.rpartition('.')[2]} " in done.stdout


def test_run_as_a_module():
    command = [sys.executable, "-m", "fastgate.examples.sum_of_sequence", "--quick", "--epochs", "1", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 epoch of training" in done.stdout


def test_same_seed_same_result(output_of):
    first, again, other = (output_of(sum_of_sequence, "--epochs", 1, "--seed", seed) for seed in (1, 1, 2))
    shown = [re.sub(r"\d+ ms", "", output) for output in (first, again, other)]
    assert shown[0] == shown[1] != shown[2]
