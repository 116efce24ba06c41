"""`fastgate bench`: shapes and their costs, paired figures, the table, the JSON, the chart, and wrong arguments."""

import json
from itertools import combinations

import numpy as np
import pytest
from command_line_tools import finish, start

from fastgate.__main__ import main
from fastgate._kernels import cpu
from fastgate._terminal import UserError
from fastgate.bench import labels, peers, report, roof, shapes, timing
from fastgate.bench.shapes import Shape
from fastgate.bench.timing import Row, Spread, Task
from fastgate.bench.workers import Cannot, Worker

TASK = Task("LSTM", "inference", "float32", 1)


def row(**seconds):
    return Row(TASK, Shape(2, 3, 4, 5), seconds, peak=1e9)


# --------------------------------------------------------------------------------------------------------------- shapes


def test_default_shapes_are_told_once():
    for work in peers.WORKS:
        chosen = shapes.default_shapes(work)
        assert len(set(chosen)) == len(chosen) >= 12
        assert all(shape.T == 1 for shape in chosen) == (work == "step")


def test_shapes_are_read():
    assert Shape.parse("7,19,11,53", "inference") == (7, 19, 11, 53)
    assert Shape.parse("7,11,53", "step") == Shape.parse("7,1,11,53", "step") == (7, 1, 11, 53)
    assert str(Shape(1, 2, 3, 4)) == "1,2,3,4"


@pytest.mark.parametrize(
    ("text", "work"),
    [
        ("1,2,3", "inference"),
        ("1,2,3,4,5", "inference"),
        ("1,0,3,4", "training_step"),
        ("1,-2,3,4", "inference"),
        ("a,b,c,d", "inference"),
        ("", "step"),
        ("1,2,3,4", "step"),
        ("1000000,1000000,1,1", "inference"),
    ],
)
def test_wrong_shapes(text, work):
    with pytest.raises(UserError, match=r"^--shapes: .*"):
        Shape.parse(text, work)


@pytest.mark.parametrize(("cell", "gates"), [("LSTM", 4), ("GRU", 3), ("GRU reset_before", 3), ("RNN", 1)])
def test_costs(cell, gates):
    shape, rows = Shape(2, 3, 4, 5), gates * 5
    once = 2 * 3 * rows * (4 + 5)
    assert [shape.multiply_adds(cell, work) for work in peers.WORKS] == [once, 3 * once, once]
    moved = 3 * rows * 5 + rows * 4 + 2 * 3 * (4 + 5)  # W_hh in each step; W_ih, x and y once
    assert shape.numbers_moved(cell, "inference") == moved
    gradients = rows * (4 + 5)
    assert shape.numbers_moved(cell, "training_step") == 2 * (moved + 2 * 3 * rows) + gradients


# -------------------------------------------------------------------------------------------------------------- figures


def test_ratios_are_those_of_pairs():
    """A machine that slows down in every round slows both: the ratio has no spread although the times have."""
    paired = row(fastgate=[1.0, 2.0, 4.0], torch=[3.0, 6.0, 12.0], jax=[2.0, 4.0, 8.0])
    assert paired.best_peer == "jax"
    assert paired.ratio == Spread(2.0, 2.0, 2.0)
    assert paired.time("torch").median == 6.0
    assert paired.rate == pytest.approx(2 * 2 * 3 * 20 * 9 / 2.0)
    assert timing.geometric_mean([paired, row(fastgate=[2.0], torch=[1.0]), row(fastgate=[1.0])]) == pytest.approx(1.0)


def test_without_peers_there_is_no_ratio():
    alone = row(fastgate=[1.0])
    assert (alone.best_peer, alone.ratio, timing.geometric_mean([alone])) == (None, None, None)
    assert report.footer([alone]) == ""
    assert "-" in report.line(alone, ["fastgate", "torch"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.2e-7, "0.120 µs"),
        (1.2e-5, "12.0 µs"),
        (9.999e-4, "1000 µs"),
        (0.0123, "12.3 ms"),
        (0.5, "500 ms"),
        (61, "61.0 s "),
    ],
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text


def test_the_table_has_straight_columns():
    rows = [row(fastgate=[3e-6], torch=[1e-3], onnxruntime=[7e-5]), row(fastgate=[2.0], onnxruntime=[1.0])]
    libraries = ["fastgate", "torch", "onnxruntime"]
    title, header = report.header(TASK, libraries).split("\n")
    assert title == "LSTM, inference, float32, 1 thread"
    assert {len(report.line(each, libraries)) for each in rows} == {len(header)}
    assert report.footer(rows).endswith("fastgate ahead at 1 of 2 shapes")


def test_labels_lie_upon_nothing():
    points = np.random.default_rng(0).normal(150, 20, (25, 2))
    names = ["64 100 256 512"] * len(points)
    frame = (0.0, 0.0, 400.0, 300.0)
    width, height = labels.LETTER * len(names[0]), labels.LINE
    boxes = [
        (x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2)
        for (x, y), (dx, dy) in zip(points, labels.place(points, names, frame), strict=True)
    ]
    assert all(labels._inside(box, frame) for box in boxes)
    assert not any(labels._overlap(a, b) for a, b in combinations(boxes, 2))
    assert not any(left < x < right and low < y < high for x, y in points for left, low, right, high in boxes)


# ------------------------------------------------------------------------------------------------------------- the roof


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_the_roof_is_measured_with_does_its_work(dtype):
    chains, width = cpu.roof.CHAINS, cpu.features.lanes(np.dtype(dtype))
    values = np.arange((chains + 2) * width, dtype=dtype).reshape(chains + 2, width)
    values[-2], values[-1] = 0.5, 1.0
    expected = values[:-2]
    for _ in range(3):
        expected = expected * 0.5 + 1
    cpu.roof.multiply_and_add(values, 3)
    np.testing.assert_array_equal(values[:-2], expected)

    rows = np.arange(5 * chains * width, dtype=dtype).reshape(5 * chains, width)
    sums = np.zeros((chains, width), dtype)
    cpu.roof.read(rows, sums, 2)
    np.testing.assert_array_equal(sums, 2 * rows.reshape(5, chains, width).sum(0))


def test_the_roof_is_measured():
    assert roof.peak("float64", 1) > 0
    sizes = roof.sizes()
    assert list(sizes) == ["L1", "L2", "L3", "memory"]
    assert sorted(sizes.values()) == list(sizes.values())


# -------------------------------------------------------------------------------------------------------------- workers


def test_a_worker_goes_on_after_a_refusal():
    with Worker("fastgate", 1) as worker:
        assert worker.ask("start")[0].isdigit()
        with pytest.raises(Cannot, match="no_such"):
            worker.ask("prepare", "no_such", "LSTM", "1,2,3,4", "float32")
        assert 0 < worker.ask("prepare", "step", "RNN", "1,3,4", "float32") < 1
        assert 0 < worker.ask("time") < 1


def test_a_worker_that_dies_is_told():
    with Worker("fastgate", 1) as worker:
        worker._process.kill()
        with pytest.raises(UserError, match="the process that runs fastgate has ended"):
            worker.ask("start")


# --------------------------------------------------------------------------------------------------------- command line


def bench(*arguments):
    return finish(start("bench", "--seconds", "0.1", *arguments))


def test_one_run(tmp_path):
    pytest.importorskip("matplotlib")
    shown, kept = tmp_path / "bench.png", tmp_path / "bench.json"
    work = ["--cell", "gru-reset-before", "--mode", "inference", "step", "--threads", "1", "--libraries", "torch"]
    code, output, errors = bench("--shapes", "2,1,4,5", *work, "--json", str(kept), "--plot", str(shown))
    assert code == 0, errors
    assert "GRU reset_before, inference, float32, 1 thread\n    B    T    I    H" in output
    assert "torch" in output
    assert shown.read_bytes().startswith(b"\x89PNG")
    found = json.loads(kept.read_text("utf-8"))
    assert [each["work"] for each in found["rows"]] == ["inference", "step"]
    for each in found["rows"]:
        rounds = each["seconds"]["fastgate"]["rounds"]
        assert len(rounds) >= timing.FEWEST
        assert each["seconds"]["fastgate"]["median"] == pytest.approx(np.median(rounds))
        assert each["shape"] == {"B": 2, "T": 1, "I": 4, "H": 5}
        assert each["peak_operations_per_second"] > 1e7
        assert each["ratio"] is None
    assert found["machine"]["numba"]
    assert set(found["bandwidths"]["1"]) == {"L1", "L2", "L3", "memory"}


def test_alone(tmp_path):
    (tmp_path / "jax.py").write_text("raise ImportError(name='jax')")  # as if it were not installed
    options = ("--seconds", "0.1", "--shapes", "2,3,4,5", "--threads", "1", "--libraries", "jax")
    code, output, _ = finish(start("bench", *options, PYTHONPATH=str(tmp_path)))
    assert code == 0
    assert output.endswith("\nnothing to compare with: pip install torch jax\n")


def test_beside_torch():
    pytest.importorskip("torch")
    code, output, _ = bench("--shapes", "2,3,4,5", "--mode", "training", "--threads", "1", "--libraries", "torch")
    assert code == 0
    assert "LSTM, training step, float32, 1 thread" in output
    assert "geometric mean of the ratios" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "1,2,3"], "--shapes: expected B,T,I,H"),
        (["--shapes", "1,2,3,4", "--mode", "inference", "step"], "--shapes: a step has T = 1"),
        (["--plot", "chart.txt"], "--plot chart.txt: expected a name that ends in .png"),
        (["--plot", "no/chart.png"], "--plot no/chart.png: expected a file in a folder that exists"),
        (["--folder", "results"], "--folder: expected with --device cuda"),
        (["--device", "cuda", "--mode", "step"], "--mode: on a GPU inference and training"),
        (["--device", "cuda", "--dtype", "float64"], "--plot, --threads, --dtype: not with --device cuda"),
        (["--json", "no/figures.json"], "--json no/figures.json: expected a file in a folder that exists"),
    ],
)
def test_wrong_arguments(capsys, arguments, message):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    assert main(["bench", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"fastgate: error: {message}")
    assert printed.out == ""


@pytest.mark.parametrize(
    "option", [["--libraries", "theano"], ["--cell", "lstmm"], ["--threads", "0"], ["--seconds", "0"]]
)
def test_arguments_that_argparse_refuses(capsys, option):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", *option])
    assert option[1] in capsys.readouterr().err


def test_plot_needs_matplotlib(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["bench", "--plot", "chart.png"]) == 2
    assert "pip install matplotlib (or fastgate with the extra 'bench')" in capsys.readouterr().err
