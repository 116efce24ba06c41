"""A character-level language model learns a text, then writes some: Embedding, two recurrent layers, dropout, Linear.

The text is cut into streams side by side, which are read piece by piece: the state is carried from piece to piece, the
gradient goes no further back than one. With --logits last the model reads pieces in any order, from no state, and
predicts only what follows each. With --checkpoint a training that is killed goes on with --resume, to the same bits.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastgate as fg
from fastgate.examples import _program
from fastgate.examples._characters import HELP, NAMES, Codes, Vocabulary, load
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
        logits = logits.astype(np.float64) / temperature
        logits[vocabulary.unknown] = -np.inf
        likely = np.exp(logits - logits.max())
        code = int(rng.choice(len(likely), p=likely / likely.sum()))
        text += vocabulary.characters[code]
    return text


def learn(options: Namespace) -> None:
    if options.resume and options.checkpoint is None:
        raise UserError("--resume needs --checkpoint DIR")
    files = options.train, options.valid, options.test
    data = load(options.data, files, least=STREAMS * STEPS, most=QUICK if options.quick else None)
    model = make_model(options.cell, len(data.vocabulary), options.units, options.logits, options.seed)
    say(f"{len(data.training):,} characters to learn from, {len(data.vocabulary)} symbols\n\n{model.summary()}")

    x, y = samples(data.training, options.logits)
    pieces: Any = STEPS if options.logits == "all" else False
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
            validation=samples(data.validation, options.logits),
            seed=options.seed,
            checkpoint=options.checkpoint,
            resume=options.resume,
            progress=True,
        )
    except (fg.NonFiniteError, ValueError, RuntimeError, OSError) as error:  # a folder with another training, say
        raise UserError(str(error).replace("resume=True", "--resume")) from None
    say_training(history)

    scoring: dict[str, Any] = {"loss": "cross_entropy", "metrics": "bits_per_character"}
    found = model.evaluate(*samples(data.test, options.logits), batch_size=STREAMS, stateful=pieces, **scoring)
    say(f"bits per character of {len(data.test):,} others (fewer is better)")
    say(f"  {data.uniform_bits:5.2f}  every symbol equally likely")
    say(f"  {data.unigram_bits:5.2f}  each as frequent as in the text that was learnt")
    say(f"  {found['bits_per_character']:5.2f}  {model.layers[1]!r}")
    say(f"\nWhat it writes, at temperature {options.temperature:g}:\n")
    say(printable(write(model, data.vocabulary, options.length, options.temperature, options.seed)))
    if options.plot is not None:
        save_picture(options.plot, history.plot())


def parser() -> ArgumentParser:
    made = _program.parser("char_lm", __doc__, epochs=(3, 2), data=HELP)
    for name in NAMES:
        made.add_argument(f"--{name}", type=Path, metavar="FILE", help="instead of --data, all three")
    made.add_argument(
        "--logits", choices=("all", "last"), default="all", help="of every step or the last; default: %(default)s"
    )
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
