"""Is a review for or against? Embedding, two recurrent layers with dropout, and two logits from the last state.

The texts are ragged, each as long as it is: `fit` takes them as a list of arrays, and no padding ever reaches a state.
Training stops when the held-out loss no longer falls.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence

import numpy as np

import fastgate as fg
from fastgate.examples._opinions import HELP, Vocabulary, load
from fastgate.examples._program import CELLS, parser, printable, run, save_picture, say, say_training

WORDS, WIDTH, UNITS, DROPOUT = 10_000, 64, 64, 0.5
SIDES = ("against", "for")


def make_model(cell: str, words: int, seed: int) -> fg.Sequential:
    return fg.Sequential(
        fg.Embedding(words, WIDTH, init="keras", seed=seed),
        fg.Dropout(DROPOUT, seed=seed),
        CELLS[cell](WIDTH, UNITS, num_layers=2, dropout=DROPOUT, init="keras", seed=seed + 1),
        fg.FinalState(),
        fg.Linear(UNITS, len(SIDES), init="keras", seed=seed + 2),
    )


def learn(options: Namespace) -> None:
    training, validation, test = load(options.data, options.seed)
    vocabulary = Vocabulary(training.texts, WORDS)
    x, x_valid, x_test = ([vocabulary.encode(text) for text in part.texts] for part in (training, validation, test))
    model = make_model(options.cell, len(vocabulary), options.seed)
    say(f"{len(x):,} texts to learn from, of {np.mean([len(codes) for codes in x]):.0f} words\n\n{model.summary()}")

    history = model.fit(
        x,
        training.labels,
        loss="cross_entropy",
        metrics="accuracy",
        optimizer=fg.Adam(1e-3 if options.data else 5e-3),  # what is made by rule is little, and without noise
        epochs=options.epochs,
        validation=(x_valid, validation.labels),
        early_stopping=2,
        seed=options.seed,
        progress=True,
    )
    say_training(history)

    logits = model.predict(x_test)
    answers = logits.argmax(axis=1)
    is_right = answers == test.labels
    most = np.bincount(test.labels).max() / len(test.labels)
    say(f"accuracy on {len(x_test):,} other texts: {is_right.mean():.3f} (one answer for all: {most:.3f})\n")
    for text, label, right in zip(test.texts[:8], test.labels, is_right, strict=False):
        say(f"{'right' if right else 'wrong'}, {SIDES[label]:8}  {printable(text[:80])}")
    if options.plot is not None:
        save_picture(options.plot, history.plot())


def main(argv: Sequence[str] | None = None) -> int:
    return run(learn, parser("sentiment", __doc__, epochs=(10, 5), data=HELP), argv)


if __name__ == "__main__":
    sys.exit(main())
