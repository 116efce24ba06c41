"""A streaming audio effect: WAV in, WAV out, block by block as in a plug-in, by a small recurrent network.

The network learns a distortion pedal from what goes in and what comes out, as in Wright et al. 2020: one recurrent
layer, a dense one, and the input added to their output. Without --input it plays a guitar that is made by rule; the
pedal is a diode clipper between a coupling capacitor and a tone control, whose equations are solved. With --model it
plays instead what somebody else has trained: the JSON of RTNeural, AIDA-X or GuitarML, or a file of ``fg.save``.

What runs in a plug-in is one compiled function, `process`: it computes a block of any size, allocates nothing, and
keeps the network's state for the next one. Channels are the rows of a batch.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numba import njit

import fastgate as fg
import fastgate.jit as fj
from fastgate.examples import _amplifier, _guitar, _wav
from fastgate.examples._amplifier import Amplifier
from fastgate.examples._program import (
    BLUE,
    CELLS,
    GRAY,
    ORANGE,
    Array,
    UserError,
    at_least,
    legend_below,
    panels,
    parser,
    plural,
    positive,
    run,
    save_picture,
    say,
)

RATE = 44100  # of sounds made by rule
SECONDS, SECONDS_QUICK, HELD_OUT = 30.0, 8.0, 3.0
PIECE, WARM_UP, CHUNK = 0.5, 1000, 1024  # seconds; samples before the first gradient; samples for each gradient
EMPHASIS = 0.85


# --------------------------------------------------------------------------------------------------------- the effect


@njit(cache=True, nogil=True)
def process(cell, head, residual, gain, state, hidden, x, y):  # type: ignore[no-untyped-def]
    """One block: x (N,C,1) -> y (N,C,1)  state, advanced  hidden (C,H)"""
    for t in range(x.shape[0]):
        fj.step(cell, x[t], state, hidden)
        fj.linear(head, hidden, y[t])
        for n in range(x.shape[1]):
            y[t, n, 0] = gain * (y[t, n, 0] + residual * x[t, n, 0])


def compiled(amplifier: Amplifier, channels: int) -> Callable[[Array, Array], None]:
    """A new run of the effect: it is called with one block after the other."""
    layer, head = amplifier.model.layers
    cell, dtype = layer.jit(), amplifier.model.dtype
    state, hidden = fj.new_state(cell, channels), np.empty((channels, layer.hidden_size), dtype)
    first = cell, head.jit(), dtype.type(amplifier.residual), dtype.type(amplifier.gain), state, hidden
    return lambda x, y: process(*first, x, y)


def streamed(amplifier: Amplifier, channels: int) -> Callable[[Array, Array], None]:
    """The same by `Stream`, for models of any layers."""
    stream, dtype = amplifier.model.stream(channels), amplifier.model.dtype
    residual, gain = dtype.type(amplifier.residual), dtype.type(amplifier.gain)

    def call(x: Array, y: Array) -> None:
        y[:] = gain * (stream.push(x.swapaxes(0, 1)).swapaxes(0, 1) + residual * x)

    return call


def play(effect: Callable[[Array, Array], None], x: Array, block: int) -> tuple[Array, Array]:
    """x (N,C) in blocks of so many samples: y (N,C), and how many seconds each block took."""
    y, starts = np.empty_like(x), range(0, len(x), block)
    seconds = np.empty(len(starts))
    for number, start in enumerate(starts):
        own = slice(start, start + block)
        before = perf_counter()
        effect(x[own, :, None], y[own, :, None])
        seconds[number] = perf_counter() - before
    return y, seconds


def perform(options: Namespace, amplifier: Amplifier, sound: Array, rate: int) -> Array:
    """The whole sound (N,C), with what is to be known about it."""
    x, ways = sound.astype(amplifier.model.dtype), {"fg.Stream": streamed}
    try:
        compiled(amplifier, 1)
        ways = {"compiled": compiled, **ways}
    except ValueError as error:  # other layers than two, or options that fastgate.jit does not have
        say(f"\nby fg.Stream alone: {error}")
    say(f"\n{len(x) / rate:.1f} s of sound, {plural(x.shape[1], 'channel')}, {rate:,} samples a second")
    start, lasts, found = x[:rate], options.block / rate, dict[str, Array]()
    say(f"blocks of {options.block} last {1e3 * lasts:.3f} ms each, and take")
    say(f"{'':12}{'median':>10}{'worst, ms':>10}{'too long':>16}{'seconds of sound a second':>28}")
    for name, way in ways.items():
        play(way(amplifier, x.shape[1]), x[: 2 * options.block], options.block)  # which may compile something
        whole = x if not found else x[: 2 * rate]
        y, seconds = play(way(amplifier, x.shape[1]), whole, options.block)
        say(
            f"{name:12}{1e3 * np.median(seconds):10.3f}{1e3 * seconds.max():10.3f}"
            f"{np.count_nonzero(seconds > lasts):6} of {len(seconds):6,}{len(whole) / rate / seconds.sum():28.1f}"
        )
        found[name] = y
    best = next(iter(ways))
    others = [play(ways[best](amplifier, x.shape[1]), start, size)[0] for size in (1, 17, 480, len(start))]
    same = all(np.array_equal(found[best][: len(start)], other) for other in others)
    say(f"blocks of 1, 17, 480 samples and of a second: {'the same bits' if same else 'OTHER bits'}")
    return found[best]


# ----------------------------------------------------------------------------------------------------------- learning


def error_to_signal(y: Array, target: Array) -> tuple[float, Array]:
    """(..., T): the energy of the error over that of the target, of both the higher frequencies more; the gradient."""
    emphasised, reference = (own[..., 1:] - EMPHASIS * own[..., :-1] for own in (y - target, target))
    energy = np.square(reference).sum() + 1e-9
    dy = np.zeros_like(y)
    dy[..., 1:] = emphasised
    dy[..., :-1] -= EMPHASIS * emphasised
    return float(np.square(emphasised).sum() / energy), 2 / energy * dy


def offset(y: Array, target: Array) -> tuple[float, Array]:
    """(B,T): the square of the mean error over the mean square of the target; the gradient."""
    errors, energy = (y - target).mean(axis=-1, keepdims=True), np.square(target).mean() + 1e-9
    return float(np.square(errors).mean() / energy), np.broadcast_to(2 / energy / y.size * errors, y.shape)


def learn(amplifier: Amplifier, x: Array, target: Array, options: Namespace) -> None:
    """x, target (N): pieces side by side, each a long sequence whose gradients go back no further than a chunk."""
    layer, head = amplifier.model.layers
    length = round(PIECE * (amplifier.rate or RATE))
    pieces, targets = (own[: own.size // length * length].reshape(-1, length).astype(np.float32) for own in (x, target))
    owners, seconds = [layer.params, head.params], []
    adam = fg.Adam(fg.CosineDecay(1e-2, options.epochs * (-(-(length - WARM_UP) // CHUNK))))
    for _ in range(options.epochs):
        before = perf_counter()
        _, state = layer(pieces[:, :WARM_UP, None])
        for start in range(WARM_UP, length, CHUNK):
            own = slice(start, start + CHUNK)
            hidden, state, tape = layer.forward(pieces[:, own, None], state)
            y, tape_y = head.forward(hidden)
            y = y[..., 0] + pieces[:, own]
            dy = error_to_signal(y, targets[:, own])[1] + offset(y, targets[:, own])[1]
            d_head = head.backward(tape_y, dy[..., None])
            d_layer = layer.backward(tape, d_head.x)
            gradients = [d_layer.params, d_head.params]
            fg.clip_gradient_norm(gradients, 1.0)
            adam.step(owners, gradients)
        seconds.append(perf_counter() - before)
    each = f"{x.size / length * PIECE:.0f} s of sound, {np.median(seconds):.2f} s each"
    say(f"{plural(options.epochs, 'epoch')} of {each}")


def without_memory(x: Array, target: Array, new: Array) -> Array:
    """The best that any function of the single sample, from straight lines, makes of new ones (N)."""
    knots = np.quantile(x, np.linspace(0, 1, 33))
    columns = [np.interp(x, knots, unit) for unit in np.eye(knots.size)]
    emphasised = np.stack([own[1:] - EMPHASIS * own[:-1] for own in (*columns, target)])
    values = np.linalg.lstsq(emphasised[:-1].T, emphasised[-1], rcond=None)[0]
    return np.interp(new, knots, values)


def trained(options: Namespace, rate: int) -> tuple[Amplifier, Array]:
    """An amplifier for sounds of that rate, and a sound (N,1) that it has not heard."""
    model = fg.Sequential(
        CELLS[options.cell](1, options.units, init="keras", seed=options.seed),
        fg.Linear(options.units, 1, seed=options.seed + 1),
    )
    amplifier, rng = Amplifier(model, rate=rate), np.random.default_rng(options.seed)
    if options.save is not None:
        _amplifier.check_save(options.save, amplifier)
    sounds = [_guitar.play(seconds, rate, rng) for seconds in (SECONDS_QUICK if options.quick else SECONDS, HELD_OUT)]
    (x, new), (target, truth) = sounds, [_guitar.distort(sound, rate) for sound in sounds]
    learn(amplifier, x, target, options)
    y, _ = play(compiled(amplifier, 1), new.astype(np.float32)[:, None], new.size)
    methods = {options.cell.upper(): y[:, 0], "without memory": without_memory(x, target, new)}
    say(f"\nerror-to-signal ratio of {HELD_OUT:.0f} s that were not heard before, with pre-emphasis")
    for name, found in methods.items():
        say(f"  {name:16}{error_to_signal(found, truth)[0]:.4f}")
    if options.save is not None:
        _amplifier.save(options.save, amplifier)
        say(f"model in {options.save}")
    if options.plot is not None:
        save_picture(options.plot, draw(rate, new, truth, methods))
    return amplifier, new[:, None]


# -------------------------------------------------------------------------------------------------------- the program


def apply(options: Namespace) -> None:
    sound, rate, form = None, RATE, _wav.Format()
    if options.input is not None:
        sound, rate, form = _wav.read(options.input)
    if options.output is not None:
        _wav.check_output(options.output, options.input)
    elif "gain" in options.given:
        raise UserError("--gain: expected --output beside it, of which it is the volume")
    if options.model is not None:
        if ignored := sorted(options.given & {"cell", "epochs", "units", "save", "plot"}):
            raise UserError(f"--{ignored[0]}: expected none beside --model, with which nothing is learnt")
        amplifier = _amplifier.read(options.model, options.residual)
        if sound is None:
            rate = amplifier.rate or rate
            sound = _guitar.play(HELD_OUT, rate, np.random.default_rng(options.seed))[:, None]
        elif amplifier.rate not in (None, rate):
            expected = f"{amplifier.rate} samples a second, for which --model was made, got {rate}"
            raise UserError(f"--input {options.input}: expected {expected}; convert it first")
    else:
        amplifier, new = trained(options, rate)
        sound = new if sound is None else sound
    y = perform(options, amplifier, sound, rate)
    if options.output is not None:
        clipped = _wav.write(options.output, _wav.Sound(options.gain * y.astype(np.float64), rate, form))
        say(f"written to {options.output}: {form}{too_loud(clipped, float(np.abs(y).max())) if clipped else ''}")


def too_loud(clipped: int, peak: float) -> str:
    """What was cut off, and a gain of two digits with which nothing would have been."""
    unit = 10.0 ** (np.floor(np.log10(0.999 / peak)) - 1)
    gain = np.floor(0.999 / peak / unit) * unit
    advice = f"--gain {gain:.2g} prevents that, and so does an --input in floating point"
    return f"; {plural(clipped, 'sample')} too loud for that and cut off: {advice}"


def draw(rate: int, x: Array, truth: Array, methods: dict[str, Array]) -> Any:
    figure, ((axes,),) = panels(1, 1, width=10.0, height=4.6)
    loudest = int(np.abs(x).argmax())
    start = min(max(0, loudest - rate // 200), x.size - rate // 50)
    own = slice(start, start + rate // 50)
    times = 1e3 * np.arange(rate // 50) / rate
    axes.plot(times, truth[own], color=GRAY, linewidth=3, label="the pedal")
    for (name, found), color in zip(methods.items(), (BLUE, ORANGE), strict=True):
        axes.plot(times, found[own], color=color, label=name)
    axes.set(xlabel="milliseconds", ylabel="amplitude", title="20 ms of what was not heard before")
    legend_below(axes)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("audio_effect", __doc__, epochs=(60, 12))
    options.add_argument("--units", type=at_least(1), default=16, metavar="H", help="default: %(default)s")
    options.add_argument("--input", type=Path, metavar="FILE.wav", help="16, 24 or 32 bits, or floating point")
    options.add_argument("--output", type=Path, metavar="FILE.wav", help="in the format of the input")
    options.add_argument("--gain", type=positive, default=1.0, metavar="G", help="multiplies what --output gets")
    options.add_argument("--model", type=Path, metavar="FILE", help="JSON, or .safetensors: nothing is learnt")
    text = "add the input to what --model gives, where the file does not say whether to"
    options.add_argument("--residual", action="store_true", help=text)
    options.add_argument("--save", type=Path, metavar="FILE.json", help="what was learnt, for RTNeural and AIDA-X")
    options.add_argument("--block", type=at_least(1), default=64, metavar="N", help="samples; default: %(default)s")
    return run(apply, options, argv)


if __name__ == "__main__":
    sys.exit(main())
