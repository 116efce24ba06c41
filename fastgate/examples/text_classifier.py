"""Is a text for or against? An answer after every word: Embedding, recurrent layer, two dense layers, one logit.

There is one label for each text, and the binary cross-entropy holds it against the output of every step. The sigmoid is
part of the loss, which takes logits; to have a probability, apply it yourself, as is done below.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np

import fastgate as fg
from fastgate.examples._opinions import HELP, Vocabulary, load
from fastgate.examples._program import (
    BLUE,
    CELLS,
    GRAY,
    Array,
    panels,
    parser,
    printable,
    run,
    save_picture,
    say,
    say_training,
)

WORDS, WIDTH, UNITS = 10_000, 64, 64
OPINIONS = ("against", "for")  # labels 0 and 1
SHOWN, LENGTH = 3, 10  # texts, and about how many words of each


def make_model(cell: str, words: int, seed: int) -> fg.Sequential:
    return fg.Sequential(
        fg.Embedding(words, WIDTH, init="keras", seed=seed),
        CELLS[cell](WIDTH, UNITS, init="keras", seed=seed + 1),
        fg.Linear(UNITS, 64, init="keras", seed=seed + 2),
        fg.Activation("relu"),
        fg.Linear(64, 1, init="keras", seed=seed + 3),
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
        loss="binary_cross_entropy",
        metrics="accuracy",
        optimizer=fg.Adam(1e-3 if options.data else 5e-3),  # what is made by rule is little, and without noise
        epochs=options.epochs,
        validation=(x_valid, validation.labels),
        early_stopping=2,
        seed=options.seed,
        progress=True,
    )
    say_training(history)

    logits = model.predict(x_test)  # a list, of one array (T,1) for each text
    answers = np.array([each[-1, 0] > 0 for each in logits])
    most = np.bincount(test.labels).max() / len(test.labels)
    say(f"accuracy after the last word of {len(x_test):,} other texts: {np.mean(answers == test.labels):.3f}")
    say(f"(one answer for all: {most:.3f})\n\nHow likely a text is for something, after each of its words:")

    shown = sorted(range(len(x_test)), key=lambda i: abs(len(x_test[i]) - LENGTH))[:SHOWN]
    words = [printable(test.texts[i]).split() for i in shown]
    probability = fg.Activation("sigmoid")
    courses = [probability(logits[i][:, 0]) for i in shown]
    for i, own, course in zip(shown, words, courses, strict=True):
        widths = [max(4, len(word)) for word in own]
        say(f"\nlabel: {OPINIONS[test.labels[i]]}")
        say(" ".join(f"{word:{width}}" for word, width in zip(own, widths, strict=True)))
        say(" ".join(f"{value:<{width}.2f}" for value, width in zip(course, widths, strict=True)))
    if options.plot is not None:
        save_picture(options.plot, draw(words, courses, test.labels[shown]))


def draw(words: list[list[str]], courses: list[Array], labels: Array) -> Any:
    figure, rows = panels(len(words), 1, width=8.0, height=2.2 * len(words))
    for (axes,), own, course, label in zip(rows, words, courses, labels, strict=True):
        axes.plot(course, ".-", color=BLUE)
        axes.axhline(label, color=GRAY, linestyle=":")
        axes.set(ylim=(-0.08, 1.08), ylabel="P(for)")
        axes.set_title(f"dotted: the label, {OPINIONS[label]}", loc="left", fontsize="medium")
        axes.set_xticks(range(len(own)), own, rotation=30, ha="right")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    return run(learn, parser("text_classifier", __doc__, epochs=(10, 5), data=HELP), argv)


if __name__ == "__main__":
    sys.exit(main())
