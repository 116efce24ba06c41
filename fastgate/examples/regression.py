"""Regress from the final states of a stack of two layers, on arrays with time first.

``--task numbers``: the input is (T,N,10), the target a number that depends on all steps; mean squared error.
``--task tokens``: the input is (T,N) of integers, the target the one that followed the only 0; an embedding, as many
outputs as there are tokens, and cross-entropy.

``--readout all`` applies the dense layer to the final states of all layers, as tutorials that pass `h_n` to it do: each
is trained to give the target, and the last one's answer is taken. ``--readout last`` applies it to the last layer's.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastgate as fg
from fastgate.examples._program import BLUE, CELLS, GRAY, Array, panels, parser, run, save_picture, say, say_training

STEPS, COUNT, LAYERS = 20, 1000, 2
FEATURES, UNITS = 10, 5  # of --task numbers
TOKENS, EMBEDDED, TOKEN_UNITS = 10, 16, 32


class Task(NamedTuple):
    layers: list[Any]  # all but the last
    output: fg.Linear
    loss: str
    rate: float
    x: Array  # (T,N,...): the first half of the sequences is for training
    y: Array  # (N,1) or (N)


def numbers(cell: Any, seed: int) -> Task:
    """A leaky sum of a projection of the input, squashed."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((STEPS, 2 * COUNT, FEATURES), np.float32)
    direction = rng.standard_normal(FEATURES) / np.sqrt(FEATURES)
    memory = 0.8 ** np.arange(STEPS - 1, -1, -1)
    y = np.tanh(np.einsum("tni,i,t->n", x, direction, memory))[:, None].astype(np.float32)
    recurrent = cell(FEATURES, UNITS, LAYERS, batch_first=False, seed=seed)
    return Task([recurrent], fg.Linear(UNITS, 1, seed=seed + 1), "mse", 1e-2, x, y)


def tokens(cell: Any, seed: int) -> Task:
    """What followed the 0?"""
    rng, row = np.random.default_rng(seed), np.arange(2 * COUNT)
    x, at = rng.integers(1, TOKENS, size=(STEPS, 2 * COUNT)), rng.integers(STEPS - 1, size=2 * COUNT)
    x[at, row] = 0
    embedding = fg.Embedding(TOKENS, EMBEDDED, seed=seed)
    recurrent = cell(EMBEDDED, TOKEN_UNITS, LAYERS, batch_first=False, seed=seed + 1)
    output = fg.Linear(TOKEN_UNITS, TOKENS, seed=seed + 2)
    return Task([embedding, recurrent], output, "cross_entropy", 5e-3, x, x[at + 1, row])


TASKS = {"numbers": numbers, "tokens": tokens}


def learn(options: Namespace) -> None:
    task = TASKS[options.task](CELLS[options.cell], options.seed)
    all_layers = options.readout == "all"
    model = fg.Sequential(*task.layers, fg.FinalState(all_layers=all_layers), task.output)
    say(model.summary())

    history = model.fit(
        task.x[:, :COUNT],
        task.y[:COUNT],
        loss=task.loss,
        optimizer=fg.Adam(task.rate),
        epochs=options.epochs,
        seed=options.seed,
    )
    say_training(history)

    predicted, y = model.predict(task.x[:, COUNT:]), task.y[COUNT:]
    if all_layers:  # (N,layers,outputs)
        predicted = predicted[:, -1]
    if options.task == "tokens":
        accuracy = fg.accuracy(predicted, y)
        say(f"\naccuracy on {len(y):,} new sequences: {accuracy:.3f} (guessing: {1 / (TOKENS - 1):.3f})")
    else:
        error = fg.mean_squared_error(predicted, y)
        say(f"\nmean squared error on {len(y):,} new sequences: {error:.4f} (always guessing the mean: {y.var():.3f})")
        say(f"R2: {fg.r2(predicted, y):.3f}")
    if options.plot is not None:
        save_picture(options.plot, draw(options, history, predicted, y))


def draw(options: Namespace, history: fg.History, predicted: Array, y: Array) -> Any:
    figure, ((left, right),) = panels(1, 2, width=9.5, height=4.2)
    left.plot(range(1, history.epochs + 1), history["loss"], color=BLUE)
    loss = "mean squared error" if options.task == "numbers" else "cross-entropy, nats"
    left.set(yscale="log", xlabel="epoch", ylabel=f"training loss ({loss})")
    if options.task == "numbers":
        right.axline((0, 0), slope=1, color=GRAY, linewidth=1, label="predicted = true")
        right.plot(y[:, 0], predicted[:, 0], ".", color=BLUE, markersize=3, label=f"{len(y):,} new sequences")
        right.set(xlabel="true", ylabel="predicted", aspect="equal")
        right.legend(frameon=False)
    else:
        counts = np.zeros((TOKENS, TOKENS), np.int64)
        np.add.at(counts, (y, predicted.argmax(axis=1)), 1)
        image = right.imshow(counts[1:, 1:], cmap="Blues", extent=(0.5, TOKENS - 0.5, TOKENS - 0.5, 0.5))
        right.grid(visible=False)
        right.set(xlabel="predicted token", ylabel="true token", xticks=range(1, TOKENS), yticks=range(1, TOKENS))
        figure.colorbar(image, label="new sequences")
    layers = f"{LAYERS} layers of {options.cell.upper()}, readout of {options.readout}"
    figure.suptitle(f"Regression from final states: {layers}")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("regression", __doc__, epochs=(100, 15))
    options.add_argument("--task", choices=TASKS, default="numbers", help="default: %(default)s")
    options.add_argument("--readout", choices=["all", "last"], default="all", help="default: %(default)s")
    return run(learn, options, argv)


if __name__ == "__main__":
    sys.exit(main())
