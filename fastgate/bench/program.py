"""fastgate beside every peer that is installed: the same work, in turn, in one run."""

import importlib.util
import sys
from argparse import Namespace
from collections.abc import Sequence
from itertools import product
from typing import Any

import fastgate
from fastgate import _info, _picture
from fastgate._options import check_target
from fastgate._terminal import UserError, say
from fastgate.bench import peers, report, timing
from fastgate.bench.shapes import Shape, default_shapes
from fastgate.bench.timing import OURS, Row, Task
from fastgate.bench.workers import Worker

CELLS = {"lstm": "LSTM", "gru": "GRU", "gru-reset-before": "GRU reset_before", "rnn": "RNN"}
MODES = {"inference": "inference", "training": "training_step", "step": "step"}


def run(options: Namespace) -> int:
    """The exit code."""
    _check(options)
    libraries = list(dict.fromkeys([OURS, *options.libraries]))
    works = [MODES[mode] for mode in dict.fromkeys(options.modes)]
    if options.device == "cuda":
        from fastgate.bench import on_device

        return on_device.run(options, works, [CELLS[cell] for cell in dict.fromkeys(options.cells)])
    kinds = list(product([CELLS[cell] for cell in dict.fromkeys(options.cells)], works, dict.fromkeys(options.dtypes)))
    shapes = {work: _shapes(options.shapes, work) for work in works}
    threads = list(dict.fromkeys(options.threads or (1, fastgate.get_num_threads())))
    count = len(threads) * sum(len(shapes[work]) for _, work, _ in kinds)

    setting: dict[str, Any] = {"machine": machine(), "configuration": {}, "versions": {}, "bandwidths": {}}
    _introduce(libraries, threads, setting["machine"])
    rows: list[Row] = []
    is_whole = True
    try:
        with _Bar(count) as bar:
            for number in threads:
                bar.show(f"starting {', '.join(libraries)}")
                with timing.team(libraries, number) as (workers, versions, missing):
                    if number == threads[0]:
                        bar.say(_describe_libraries(versions, missing))
                        setting |= {"versions": versions, "not_installed": missing}
                        setting["configuration"] = {library: peers.peer(library).BEST for library in versions}
                    setting["bandwidths"][number] = workers[OURS].ask("bandwidths")
                    bar.say(_describe_bandwidths(number, setting["bandwidths"][number]))
                    for cell, work, dtype in kinds:
                        task = Task(cell, work, dtype, number)
                        _table(task, shapes[work], workers, options.seconds / count, rows, bar)
    except KeyboardInterrupt:
        if not rows:
            raise
        is_whole = False
        say("\ninterrupted; what was measured is kept")
    if len(libraries) > 1 and set(setting["versions"]) == {OURS}:
        say("\nnothing to compare with: pip install torch jax")
    if options.json is not None:
        report.write(options.json, report.as_json(setting, rows))
        say(f"\nall figures in {options.json}")
    if options.plot is not None:
        from fastgate.bench import plot

        plot.draw(options.plot, rows, setting)
        say(f"\ncharts in {options.plot}")
    return 0 if is_whole else 130


def _table(
    task: Task, shapes: Sequence[Shape], workers: dict[str, Worker], seconds: float, rows: list[Row], bar: "_Bar"
) -> None:
    """Measure and show its rows, each added to `rows`."""
    bar.say("\n" + report.header(task, workers))
    for shape in shapes:
        bar.show(f"{task}: {shape}")
        row = timing.measure(task, shape, workers, seconds)
        rows.append(row)
        # Whatever else runs on the machine can only lower a peak.
        row.peak = max(other.peak for other in rows if other.task[2:] == task[2:])
        bar.say(report.line(row, workers))
        bar.advance()
    mine = [row for row in rows if row.task == task]
    bar.say("\n".join(filter(None, [report.footer(mine), *report.missing(mine)])))


def _shapes(texts: Sequence[str] | None, work: str) -> list[Shape]:
    return [Shape.parse(text, work) for text in texts] if texts else default_shapes(work)


def _check(options: Namespace) -> None:
    """Before anything is measured, not after it."""
    if options.device == "cuda":
        _check_of_device(options)
    if options.plot is not None:
        _picture.check(options.plot, "bench")
    if options.json is not None:
        check_target("--json", options.json)
    if options.folder is not None and options.device == "cpu":
        raise UserError("--folder: expected with --device cuda; --json and --plot write what is measured on a CPU")


def _check_of_device(options: Namespace) -> None:
    if "step" in options.modes:
        raise UserError("--mode: on a GPU inference and training are measured, no single steps")
    if options.plot is not None or options.threads or set(options.dtypes) != {"float32"}:
        raise UserError("--plot, --threads, --dtype: not with --device cuda, where float32 is measured")


def machine() -> dict[str, str]:
    """What `fastgate info` tells of it, without the paths of whoever measures."""
    described = _info.describe() | {"fastgate": fastgate.__version__}
    return {name: value for name, value in described.items() if name not in ("threads", "kernel cache")}


def _introduce(libraries: Sequence[str], threads: Sequence[int], machine: dict[str, str]) -> None:
    versions = ", ".join(f"{name} {machine[name]}" for name in ("numba", "llvmlite", "numpy"))
    say(f"fastgate {fastgate.__version__} beside its peers: medians of rounds in which every library takes its turn\n")
    say(f"machine      {machine['CPU']}, {machine['instruction set']}; threads: {', '.join(map(str, threads))}")
    say(f"versions     python {machine['python']}; {versions}")
    say(f"starting     {', '.join(libraries)}, each in a process of its own")


def _describe_libraries(versions: dict[str, str], missing: dict[str, str]) -> str:
    lines = [f"{name:13}{version}: {peers.peer(name).BEST}" for name, version in versions.items()]
    lines += [f"{name:13}{reason.partition(': ')[2] or reason}" for name, reason in missing.items()]
    lines.append(
        "ratio        the best peer's time over fastgate's, the median of paired rounds; above 1 fastgate is ahead"
    )
    lines.append(
        "GF/s, peak   of fastgate, counting products of matrices only; share of the multiply-adds measured there"
    )
    return "\n".join(lines)


def _describe_bandwidths(threads: int, bandwidths: dict[str, float]) -> str:
    levels = ", ".join(f"{level} {rate / 1e9:.0f}" for level, rate in bandwidths.items())
    return f"reads, GB/s  {levels}, with {threads} thread" + "s" * (threads > 1)


class _Bar:
    """tqdm's on a terminal that has it; elsewhere the rows, which come one by one, are the progress."""

    def __init__(self, count: int) -> None:
        self._bar: Any = None
        if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
            from tqdm import tqdm

            self._bar = tqdm(total=count, leave=False, bar_format="{percentage:3.0f}% |{bar:20}| {elapsed} {desc}")

    def show(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(text)

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        say(text)
        if self._bar is not None:
            self._bar.refresh()

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
