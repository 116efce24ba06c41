"""A network trained on regular samples, run in continuous time: its step as the right-hand side of an equation.

A recurrent layer goes from state to state, h' = step(x, h), in steps of one length, dt. They are Euler's steps for the
differential equation (De Brouwer et al. 2019)

    dh/dt = (step(x(t), h) - h) / dt

which a solver takes at any time, with steps of any length; so the network can be used where samples come faster than in
training. SciPy's solver calls the layer by the pointer to a C function that ``layer.cfunc()`` gives, which is how any
other solver, in C or Fortran, would do it. And SciPy's quadrature, itself in C, integrates what the layer makes of an
input without a detour through Python.

The task: something that warms up and cools down, dy/dt = (tanh(2 u(t)) - y) / 2, seen every 0.1 seconds.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from scipy.integrate import quad, solve_ivp

import fastgate as fg
from fastgate.examples._program import (
    BLUE,
    CELLS,
    GRAY,
    ORANGE,
    Array,
    legend_below,
    panels,
    parser,
    run,
    save_picture,
    say,
    say_training,
)

DT, STEPS, SEQUENCES, UNITS = 0.1, 200, 64, 12
FASTER = 5  # samples in the time of one


class Signals:
    """Sums of waves, one for each sequence: functions of time."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self.periods, self.phases = rng.uniform(3, 12, (count, 3)), rng.uniform(0, 2 * np.pi, (count, 3))

    def __call__(self, t: float) -> Array:
        total: Array = 0.5 * np.sin(2 * np.pi * t / self.periods + self.phases).sum(axis=1)
        return total


def observe(u: Callable[[float], Array], dt: float, steps: int) -> tuple[Array, Array]:
    """Of each signal at k dt: u, and y one step later, both (count, steps, 1)."""

    def rate(t: float, y: Array) -> Array:
        slope: Array = (np.tanh(2 * u(t)) - y) / 2
        return slope

    y, inputs, outputs = np.zeros_like(u(0.0)), [], []
    for t in dt * np.arange(steps):
        inputs.append(u(t))
        k1 = rate(t, y)
        k2 = rate(t + dt / 2, y + dt / 2 * k1)
        k3 = rate(t + dt / 2, y + dt / 2 * k2)
        y = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + rate(t + dt, y + dt * k3))
        outputs.append(y)
    return np.stack(inputs, 1)[..., None], np.stack(outputs, 1)[..., None]


def right_hand_side(step: fg.CFunction, x_of: Callable[[float], Any]) -> Callable[[float, Array], Array]:
    """The equation for all that a layer carries along: h, and of an LSTM c behind it."""
    x, after, y = np.empty(1), step.new_state(), np.empty(step.output_size)
    arguments = step.cell, x.ctypes, after.ctypes, y.ctypes

    def rate(t: float, state: Array) -> Array:
        x[0], after[:] = x_of(t), state
        step.ctypes(*arguments)  # writes `after` and y
        return (after - state) / DT

    return rate


def solve(step: fg.CFunction, x: Array, times: Array) -> tuple[Array, int]:
    """h (times, units) for samples x of those times, and how often the layer was called."""
    rate = right_hand_side(step, lambda t: np.interp(t, times, x))
    found = solve_ivp(rate, (0, times[-1] + DT), step.new_state(), t_eval=times, max_step=DT, rtol=1e-6)
    return found.y[: step.output_size].T, found.nfev


def euler(step: fg.CFunction, x: Array) -> Array:
    """h (steps, units) by Euler's method with steps of DT: the layer itself."""
    rate = right_hand_side(step, lambda t: x[round(t / DT)])
    state, found = step.new_state(), []
    for k in range(len(x)):
        state = state + DT * rate(k * DT, state)
        found.append(state[: step.output_size])
    return np.stack(found)


def compare(options: Namespace) -> None:
    rng = np.random.default_rng(options.seed)
    x, y = observe(Signals(rng, SEQUENCES), DT, STEPS)
    layer = CELLS[options.cell](1, UNITS, dtype="float64", seed=options.seed)
    readout = fg.Linear(UNITS, 1, dtype="float64", seed=options.seed + 1)
    model = fg.Sequential(layer, readout)
    history = model.fit(
        x, y, loss="mse", optimizer=fg.Adam(1e-2), epochs=options.epochs, batch_size=16, seed=options.seed
    )
    say_training(history)

    new = Signals(rng, 1)
    (x,), (y,) = observe(new, DT, STEPS)
    (x_fast,), (y_fast,) = observe(new, DT / FASTER, STEPS * FASTER)
    times = DT / FASTER * np.arange(STEPS * FASTER)
    step = layer.cfunc()
    h, calls = solve(step, x_fast[:, 0], times)
    results = {
        "as in training": (y, model(x[None])[0]),
        "the same layer": (y_fast, model(x_fast[None])[0]),
        "as an equation": (y_fast[:-1], readout(h[1:])),  # y is one step later than x
    }
    say("\nroot mean squared error on a new signal" + 12 * " " + "samples a second")
    for name, (expected, found) in results.items():
        rate = len(expected) / (STEPS * DT)
        say(f"  {name:20}{np.sqrt(np.square(found - expected).mean()):.4f}{rate:29.0f}")
    say(f"  {'always the mean':20}{y.std():.4f}")

    difference = np.abs(euler(step, x[:, 0]) - layer(x[None])[0][0]).max()
    say(f"\nEuler's method with steps of {DT} is the layer: largest difference {difference:.0e}")
    say(f"the solver called it {calls:,} times")
    integrate(layer)
    if options.plot is not None:
        save_picture(options.plot, draw(options, times, results))


def integrate(layer: Any) -> None:
    """What the first unit makes of a first input from -1 to 1, on average: quadrature in C, and in Python."""
    functions = {
        "C": layer.cfunc().low_level_callable(output=0),
        "Python": lambda x: float(layer.step(np.array([x]))[0][0]),
    }
    for name, function in functions.items():
        quad(function, -1, 1)  # which may compile something
        start = perf_counter()
        mean = quad(function, -1, 1)[0] / 2
        seconds = perf_counter() - start
        say(f"mean of h[0] after one step, by quad of a function in {name:7} {mean:.12f}, {seconds:.1e} s")


def draw(options: Namespace, times: Array, results: dict[str, tuple[Array, Array]]) -> Any:
    figure, ((axes,),) = panels(1, 1, width=9.0, height=4.2)
    expected, ours = results["as an equation"]
    axes.plot(times[1:], expected, color=GRAY, linewidth=3, label="what warms up and cools down")
    axes.plot(times[1:], ours, color=BLUE, label="the network as a differential equation")
    axes.plot(times, results["the same layer"][1], color=ORANGE, label="the network, a step for each sample")
    axes.set(xlabel="seconds", ylabel="y", title=f"{FASTER} times as many samples a second as in training")
    legend_below(axes)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    return run(compare, parser("continuous_time", __doc__, epochs=(60, 15)), argv)


if __name__ == "__main__":
    sys.exit(main())
