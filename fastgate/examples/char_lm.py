"""A character-level language model learns a text, then writes some: Embedding, two recurrent layers, dropout, Linear.

The text is cut into streams side by side, which are read piece by piece: the state is carried from piece to piece, the
gradient goes no further back than one. With --logits last the model reads pieces in any order, from no state, and
predicts only what follows each. With --checkpoint a training that is killed goes on with --resume, to the same bits.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastgate as fg
from fastgate.demo.text import Codes, Data, Vocabulary, points_of, read_file, read_standard_library
from fastgate.examples import _program
from fastgate.examples._program import (
    CELLS,
    UserError,
    at_least,
    positive,
    printable,
    run,
    save_picture,
    say,
    say_training,
)

EMBEDDED, LAYERS, DROPOUT = 64, 2, 0.2
STREAMS, STEPS = 32, 64  # of a training step
APART = 17  # characters from piece to piece, with --logits last; a prime, to fall in step with no pattern
QUICK = 120_000  # characters
NAMES = ("train", "valid", "test")


class Texts(NamedTuple):
    training: str
    validation: str
    test: str


def make_model(cell: str, symbols: int, units: int, logits: str, seed: int) -> fg.Sequential:
    recurrent = CELLS[cell](EMBEDDED, units, num_layers=LAYERS, dropout=DROPOUT, seed=seed + 1)
    return fg.Sequential(
        fg.Embedding(symbols, EMBEDDED, seed=seed),
        recurrent,
        *([fg.FinalState()] if logits == "last" else []),
        fg.Linear(units, symbols, seed=seed + 2),
    )


def samples(codes: Codes, logits: str) -> tuple[Codes, Codes]:
    """What the model reads, and what it shall say: the next character at every step, or what follows each piece."""
    if logits == "all":
        return codes[:-1], codes[1:]
    pieces = np.lib.stride_tricks.sliding_window_view(codes, STEPS + 1)[::APART]  # a view: nothing is copied
    return pieces[:, :-1], pieces[:, -1]


def write(model: fg.Sequential, vocabulary: Vocabulary, count: int, temperature: float, seed: int) -> str:
    """What follows the end of a line, drawn character by character."""
    stepwise = fg.Sequential(*(layer for layer in model.layers if not isinstance(layer, fg.FinalState)))
    rng, state, text = np.random.default_rng(seed), None, ""
    code = vocabulary.characters.index("\n") if "\n" in vocabulary.characters else 0
    for _ in range(count):
        logits, state = stepwise.step(code, state)
        likely = np.exp((logits - logits.max()).astype(np.float64) / temperature)
        likely[vocabulary.unknown] = 0
        code = int(rng.choice(len(likely), p=likely / likely.sum()))
        text += vocabulary.characters[code]
    return text


def learn(options: Namespace) -> None:
    if options.resume and options.checkpoint is None:
        raise UserError("--resume needs --checkpoint DIR")
    texts = read(options)
    vocabulary = Vocabulary(points_of(texts.training))
    codes, codes_valid, codes_test = (vocabulary.encode(points_of(text)) for text in texts)
    x, y = samples(codes, options.logits)
    pieces: Any = STEPS if options.logits == "all" else False
    model = make_model(options.cell, len(vocabulary), options.units, options.logits, options.seed)
    say(f"{len(codes):,} characters to learn from, {len(vocabulary)} symbols\n\n{model.summary()}")

    try:
        history = model.fit(
            x,
            y,
            loss="cross_entropy",
            metrics="bits_per_character",
            optimizer=fg.Adam(options.rate),
            epochs=options.epochs,
            batch_size=STREAMS,
            stateful=pieces,
            validation=samples(codes_valid, options.logits),
            seed=options.seed,
            checkpoint=options.checkpoint,
            resume=options.resume,
            progress=True,
        )
    except (ValueError, RuntimeError, OSError) as error:  # a folder that holds another training, say
        if options.checkpoint is None:
            raise
        raise UserError(str(error)) from None
    say_training(history)

    scoring: dict[str, Any] = {"loss": "cross_entropy", "metrics": "bits_per_character"}
    found = model.evaluate(*samples(codes_test, options.logits), batch_size=STREAMS, stateful=pieces, **scoring)
    baselines = Data(vocabulary, codes, codes_test)
    say(f"bits per character of {len(codes_test):,} others (fewer is better)")
    say(f"  {baselines.uniform_bits:5.2f}  every symbol equally likely")
    say(f"  {baselines.unigram_bits:5.2f}  each as frequent as in the text that was learnt")
    say(f"  {found['bits_per_character']:5.2f}  {model.layers[1]!r}")
    say(f"\nWhat it writes, at temperature {options.temperature:g}:\n")
    say(printable(write(model, vocabulary, options.length, options.temperature, options.seed)))
    if options.plot is not None:
        save_picture(options.plot, history.plot())


def read(options: Namespace) -> Texts:
    """Three files, three files of a folder, or one text whose end is kept for validation and test."""
    paths: list[Path | None] = [options.train, options.valid, options.test]
    if options.data is not None and options.data.is_dir():
        paths = [_only(options.data, name) for name in NAMES]
    if None not in paths:
        texts = Texts(*(read_file(path).text for path in paths if path is not None))
    elif any(paths):
        raise UserError("expected --train, --valid and --test together, or --data")
    else:
        text = (read_standard_library() if options.data is None else read_file(options.data)).text
        ends = len(text) * 90 // 100, len(text) * 95 // 100
        texts = Texts(text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :])
    if options.quick:
        texts = Texts(*(text[: QUICK // shorter] for text, shorter in zip(texts, (1, 10, 10), strict=True)))
    for name, text in zip(NAMES, texts, strict=True):
        if len(text) < STREAMS * STEPS:
            raise UserError(f"the text for {name} is too short: {len(text)} characters, of at least {STREAMS * STEPS}")
    return texts


def _only(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"*{name}.txt"))
    if len(found) != 1:
        raise UserError(f"--data {folder}: expected one file *{name}.txt in this folder, found {len(found)}")
    return found[0]


def parser() -> ArgumentParser:
    data = "a text, of which the last tenth is held out, or a folder with *train.txt, *valid.txt and *test.txt, as Penn"
    made = _program.parser("char_lm", __doc__, epochs=(3, 2), data=f"{data} Treebank's (default: Python's sources)")
    for name in NAMES:
        made.add_argument(f"--{name}", type=Path, metavar="FILE", help="instead of --data, all three")
    made.add_argument("--logits", choices=("all", "last"), default="all", help="where: default: %(default)s")
    made.add_argument("--checkpoint", type=Path, metavar="DIR", help="write the state of the training after each epoch")
    made.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    for name, kind, default, text in (
        ("--units", at_least(1), 128, "of each layer"),
        ("--rate", positive, 2e-3, "of learning"),
        ("--temperature", positive, 0.8, "at which it writes"),
        ("--length", at_least(1), 400, "of what it writes, in characters"),
    ):
        made.add_argument(name, type=kind, default=default, metavar="X", help=f"{text}; default: %(default)s")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    return run(learn, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
