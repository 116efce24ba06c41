"""From dates in many spellings to ISO 8601: an encoder reads the date, a decoder starts from its state and writes.

Both read and write characters. In training the decoder is given what it should have written so far; to translate, it
reads what it has written itself. Training and test have no day in common, in any spelling.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np

import fastgate as fg
from fastgate.examples._program import BLUE, CELLS, Array, panels, parser, run, save_picture, say, say_training

MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
MONTHS += ["August", "September", "October", "November", "December"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"]
FIRST, LAST = date(1950, 1, 1).toordinal(), date(2049, 12, 31).toordinal()  # so that two digits tell the century

SPELLINGS: tuple[Callable[[date], str], ...] = (
    lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{DAYS[d.weekday()]}, {d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"the {d.day}{ending(d.day)} of {MONTHS[d.month - 1]}, {d.year}",
    lambda d: f"{d.day}-{MONTHS[d.month - 1][:3].upper()}-{d.year % 100:02}",
    lambda d: f"{MONTHS[d.month - 1][:3]} {d.day} '{d.year % 100:02}",
    lambda d: f"{d.day}.{d.month}.{d.year}",  # the day comes first with dots,
    lambda d: f"{d.month:02}/{d.day:02}/{d.year}",  # and the month with slashes
    lambda d: f"{d.day} {ROMAN[d.month - 1]} {d.year}",
)
ISO = "0123456789-"
START, STOP = len(ISO), len(ISO) + 1
WIDTH, UNITS, BATCH, RATE = 64, 128, 32, 0.01
SAMPLES, QUICK = 20_000, 5_000


def ending(day: int) -> str:
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


class Dates(NamedTuple):
    """Spelled out, how (a number of SPELLINGS), and in ISO 8601."""

    texts: list[str]
    spellings: Array
    iso: list[str]


def make_dates(count: int, seed: int) -> tuple[Dates, Dates]:
    """To learn from and, of other days, to test: a tenth as many."""
    rng = np.random.default_rng(seed)
    days = rng.permutation(np.arange(FIRST, LAST + 1))
    held_out = len(days) // 10
    return _spell(rng, days[held_out:], count), _spell(rng, days[:held_out], count // 10)


def _spell(rng: np.random.Generator, days: Array, count: int) -> Dates:
    chosen = [date.fromordinal(int(day)) for day in rng.choice(days, count)]
    spellings = rng.integers(len(SPELLINGS), size=count)
    texts = [SPELLINGS[spelling](day) for spelling, day in zip(spellings, chosen, strict=True)]
    return Dates(texts, spellings, [day.isoformat() for day in chosen])


def make_model(cell: str, characters: int, seed: int) -> fg.EncoderDecoder:
    encoder = fg.Sequential(
        fg.Embedding(characters, WIDTH, seed=seed),
        CELLS[cell](WIDTH, UNITS, init="keras", seed=seed + 1),
    )
    decoder = fg.Sequential(
        fg.Embedding(len(ISO) + 2, WIDTH, seed=seed + 2),
        CELLS[cell](WIDTH, UNITS, init="keras", seed=seed + 3),
        fg.Linear(UNITS, len(ISO) + 2, init="keras", seed=seed + 4),
    )
    return fg.EncoderDecoder(encoder, decoder)


def encode(texts: Sequence[str], characters: str) -> list[Array]:
    """One array for each text: they are of unequal length."""
    codes = {character: code for code, character in enumerate(characters)}
    return [np.array([codes[character] for character in text]) for text in texts]


def translate(model: fg.EncoderDecoder, sources: list[Array]) -> list[str]:
    """The likeliest character at each step."""
    lengths = [len(source) for source in sources]
    padded = np.zeros((len(sources), max(lengths)), int)
    for row, source in zip(padded, sources, strict=True):
        row[: len(source)] = source
    symbols, counts = model.generate(padded, START, STOP, max_steps=12, lengths=lengths)
    return ["".join((ISO + "??")[symbol] for symbol in row[:count]) for row, count in zip(symbols, counts, strict=True)]


def learn(options: Namespace) -> None:
    training, test = make_dates(QUICK if options.quick else SAMPLES, options.seed)
    characters = "".join(sorted(set("".join(training.texts))))
    sources, targets = encode(training.texts, characters), np.array(encode(training.iso, ISO))
    starts, stops = (np.full((len(targets), 1), symbol) for symbol in (START, STOP))
    model = make_model(options.cell, len(characters), options.seed)
    say(f"{len(sources):,} dates to learn from, {len(SPELLINGS)} spellings\n\n{model.summary()}")

    history = model.fit(
        (sources, np.hstack([starts, targets])),
        np.hstack([targets, stops]),
        loss="cross_entropy",
        metrics="accuracy",
        optimizer=fg.Adam(fg.CosineDecay(RATE, steps=len(sources) * options.epochs // BATCH)),
        epochs=options.epochs,
        batch_size=BATCH,
        clip_norm=1.0,
        seed=options.seed,
        progress=True,
    )
    say_training(history)

    found = translate(model, encode(test.texts, characters))
    is_right = np.array([own == iso for own, iso in zip(found, test.iso, strict=True)])
    say(f"exactly right, of {len(found):,} dates on other days: {is_right.mean():.3f}\n")
    shares = [is_right[test.spellings == spelling].mean() for spelling in range(len(SPELLINGS))]
    say(f"{'right':>6}  {'a date of this spelling':32} translated")
    for spelling, share in enumerate(shares):
        example = list(test.spellings).index(spelling)
        say(f"{share:6.1%}  {test.texts[example]:32} {found[example]}{'' if is_right[example] else '  wrong'}")
    if options.plot is not None:
        save_picture(options.plot, draw(shares, options.cell))


def draw(shares: list[Any], cell: str) -> Any:
    figure, ((axes,),) = panels(width=7.0, height=4.0)
    names = [spelling(date(1987, 3, 28)) for spelling in SPELLINGS]
    axes.barh(names[::-1], shares[::-1], color=BLUE)
    axes.set(xlim=(0, 1), xlabel="exactly right, of dates on other days", title=f"Dates to ISO 8601, {cell.upper()}")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    return run(learn, parser("translate", __doc__, epochs=(5, 3)), argv)


if __name__ == "__main__":
    sys.exit(main())
