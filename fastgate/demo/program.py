"""The demo: a character-level language model learns a text, then writes some; and the same training in PyTorch."""

import importlib
import importlib.util
from argparse import Namespace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import fastgate
from fastgate import _info, _picture
from fastgate._terminal import Interruption, Progress, printable, say
from fastgate.demo import text as texts
from fastgate.demo import training
from fastgate.demo.model import CharModel, Sizes
from fastgate.demo.torch_model import TorchCharModel
from fastgate.demo.training import AVERAGED, Run

SAMPLE = 400  # characters
TEMPERATURE = 0.8


def run(options: Namespace) -> int:
    """The exit code. Ctrl-C ends the training, not the demo, and is no failure."""
    if options.plot is not None:
        _picture.check(options.plot)
    corpus = texts.read_standard_library() if options.text is None else texts.read_file(options.text)
    data = texts.prepare(corpus, options.batch, options.seq_len)
    sizes = Sizes(len(data.vocabulary), options.cell, options.hidden, options.layers, options.seed)
    model = CharModel(sizes)
    _introduce(corpus, data, model)

    def batches() -> training.Batches:
        return texts.batches(data.training, options.batch, options.seq_len)

    begin = perf_counter()
    _rehearse(CharModel(sizes), batches(), data)
    say(f"compiled   in {perf_counter() - begin:.1f} s, or read from the cache; not counted below\n")

    plan = training.by_time(options.seconds) if options.steps is None else training.by_steps(options.steps)
    torch = None if options.no_torch else _import_torch()
    models: list[training.Trainable] = [model]
    if torch is not None:
        torch.set_num_threads(fastgate.get_num_threads())
        initial = [dict(params) for params in model.params]
        training.rehearse(TorchCharModel(torch, sizes, initial), batches())
        models.append(TorchCharModel(torch, sizes, initial))
        say(f"PyTorch {torch.__version__} trains the same in turn: initial weights, batches, rates, threads\n")
    with Interruption() as ctrl_c:
        runs = training.learn(models, batches(), plan, Progress("training"), ctrl_c)
    ours, theirs = runs[0], runs[1] if len(runs) > 1 else None
    if ours.steps == 0:
        raise KeyboardInterrupt
    _report(ours, data, model)
    _write_sample(model, data, options.seed)
    if theirs is not None:
        _compare(ours, theirs)
    if options.plot is not None:
        _plot(options.plot, data, ours, theirs)
    return 0


def _introduce(corpus: texts.Corpus, data: texts.Data, model: CharModel) -> None:
    layers = " -> ".join(map(repr, (model.embedding, model.recurrent, model.output)))
    size = sum(params.flat.size for params in model.params)
    cut = f", its first {texts.MOST_BYTES // 1_000_000} MB" if corpus.is_cut else ""
    say(f"fastgate {fastgate.__version__} learns to write, one character after the other\n")
    say(f"text       {printable(corpus.name)}{cut}: {len(corpus.text):,} characters, the last")
    say(f"           {len(data.held_out):,} of them held out; {len(data.vocabulary)} symbols")
    say(f"model      {layers}: {size:,} parameters")
    say(f"machine    {_info.cpu_name()}, {_info.instruction_set()}, {fastgate.get_num_threads()} threads")


def _rehearse(model: CharModel, batches: training.Batches, data: texts.Data) -> None:
    training.rehearse(model, batches)
    model.bits(data.held_out[:2])
    next(model.sample(0, never=data.vocabulary.unknown, temperature=TEMPERATURE, seed=0))


def _report(ours: Run, data: texts.Data, model: CharModel) -> None:
    speed = f"{ours.characters_per_second:,.0f} characters per second"
    say(f"trained    {ours.steps:,} steps, {ours.characters:,} characters in {ours.seconds:.1f} s: {speed}\n")
    say("bits per character of the held-out text (fewer is better)")
    say(f"  {data.uniform_bits:5.2f}  every symbol equally likely")
    say(f"  {data.unigram_bits:5.2f}  each as frequent as in the training text")
    say(f"  {model.bits(data.held_out):5.2f}  {model.recurrent!r}\n")


def _write_sample(model: CharModel, data: texts.Data, seed: int) -> None:
    say(f"{SAMPLE} characters it writes, at temperature {TEMPERATURE}:\n")
    vocabulary = data.vocabulary
    start = vocabulary.characters.index("\n") if "\n" in vocabulary.characters else int(data.training[0])
    codes = model.sample(start, never=vocabulary.unknown, temperature=TEMPERATURE, seed=seed)
    for code in islice(codes, SAMPLE):
        say(printable(vocabulary.characters[code]), end="")
    say()


def _compare(ours: Run, theirs: Run) -> None:
    averaged = min(AVERAGED, ours.steps)
    say(f"\n            characters per second   training loss, bits (mean of the last {averaged} steps)")
    for name, result in (("fastgate", ours), ("PyTorch", theirs)):
        say(f"  {name:10}{result.characters_per_second:21,.0f}   {result.loss(result.steps):.3f}")
    say(f"  ratio     {ours.characters_per_second / theirs.characters_per_second:20.2f}x")
    say("  (the two took steps in turn; speeds are those of the median step)")


def _import_torch() -> Any:
    if importlib.util.find_spec("torch") is None:
        say("\n(with PyTorch installed, the demo trains the same model in it and compares)")
        return None
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError) as error:
        say(f"\nPyTorch does not load: {error}")
        return None


def _plot(path: Path, data: texts.Data, ours: Run, theirs: Run | None) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, result in (("fastgate", ours), ("PyTorch", theirs)):
        if result is not None:
            smooth = [result.loss(step + 1) for step in range(result.steps)]
            axes.plot(result.ends, smooth, label=f"{name}, {result.characters_per_second:,.0f} characters/s")
    axes.axhline(data.unigram_bits, color="gray", linestyle=":", label="unigram baseline, held-out text")
    axes.set(xlabel="seconds of training", ylabel=f"training loss, bits per character (mean of {AVERAGED} steps)")
    axes.legend()
    _picture.save(path, figure)
    say(f"\nloss curves in {path}")
