"""A simulator that is known only in part, with a network inside for the rest, trained through the solver.

A driven pendulum: angle'' = push(t) - sin(angle) - damping * angle' - friction. All but the friction is known. It is
hysteretic (Bouc 1967, Wen 1976): it depends on all that the joint has done before, by a state of its own that nobody
measures. So a recurrent network takes its place, called in every step of a compiled loop by `fastgate.jit`, and sees
what the simulator knows: angle and speed.

What is measured are some runs, with noise. The network is trained so that whole runs of simulator and network together
follow them: the loss goes back through the solver and the network, step by step, from the last to the first. The
baselines: no friction, and the usual short cut, a network that was taught the friction of one step at a time from
differences of measured speeds. All of them run freely, from new starts, several times as long as in training.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numba import njit

import fastgate as fg
import fastgate.jit as fj
from fastgate.examples._program import (
    BLUE,
    CELLS,
    GRAY,
    GREEN,
    ORANGE,
    Array,
    Told,
    at_least,
    legend_below,
    panels,
    parser,
    run,
    save_picture,
    say,
    warn,
)

DT, DAMPING, NOISE = 0.05, 0.1, 0.02  # seconds, per second, and of what is measured
FRICTION, STIFFNESS, SUBSTEPS = 0.5, 2.0, 4  # of the truth
RUNS, STEPS = 16, 200  # of training
NEW_RUNS, TIMES_LONGER = 64, 5


# ------------------------------------------------------------------------------------ the simulator, and its way back


@njit(cache=True)
def simulate(cell, head, start, push, tape, path, outputs, friction):  # type: ignore[no-untyped-def]
    """start (B,2)  push (T,B) -> tape, path (T+1,B,2), outputs (T,B,H), friction (T,B,1)

    Semi-implicit Euler: first the new speed, then the angle by it.
    """
    steps, B = push.shape
    state = fj.new_state(cell, B)
    path[0] = start
    for t in range(steps):
        fj.step(cell, path[t], state, outputs[t], tape, t)
        fj.linear(head, outputs[t], friction[t])
        for n in range(B):
            angle, speed = path[t, n]
            speed += DT * (push[t, n] - np.sin(angle) - DAMPING * speed - friction[t, n, 0])
            path[t + 1, n] = angle + DT * speed, speed


@njit(cache=True)
def simulate_backward(cell, head, tape, path, outputs, d_path, d_cell, d_head, d_start):  # type: ignore[no-untyped-def]
    """d_path (T+1,B,2), the loss's gradient in the path -> d_start (B,2), d_cell and d_head, added to"""
    steps, B, H = outputs.shape
    d_state = fj.new_state(cell, B)
    d_outputs, d_friction, d_seen = np.empty((B, H)), np.empty((B, 1)), np.empty((B, 2))
    d_start[:] = d_path[steps]
    for t in range(steps - 1, -1, -1):
        for n in range(B):
            d_start[n, 1] += DT * d_start[n, 0]  # in the new speed, by which the angle went on
            d_friction[n, 0] = -DT * d_start[n, 1]
        fj.linear_backward(head, outputs[t], d_friction, d_outputs, d_head)
        fj.step_backward(cell, tape, t, d_outputs, d_state, d_seen, d_cell)
        for n in range(B):
            d_angle, d_speed = d_start[n]
            d_angle -= DT * np.cos(path[t, n, 0]) * d_speed
            d_speed -= DT * DAMPING * d_speed
            d_start[n, 0] = d_angle + d_seen[n, 0] + d_path[t, n, 0]
            d_start[n, 1] = d_speed + d_seen[n, 1] + d_path[t, n, 1]


@njit(cache=True)
def simulate_tangent(cell, head, start, push, direction, start_tangent, tangents):  # type: ignore[no-untyped-def]
    """Forward mode: how the path moves with the cell's parameters and the start -> tangents (T+1,B,2)"""
    steps, B = push.shape
    state, state_tangent = fj.new_state(cell, B), fj.new_state(cell, B)
    H = state.h.shape[2]
    y, y_tangent, friction, friction_tangent = np.empty((B, H)), np.empty((B, H)), np.empty((B, 1)), np.empty((B, 1))
    at = start.copy()
    tangents[0] = start_tangent
    for t in range(steps):
        fj.jvp_step(cell, at, state, y, tangents[t], state_tangent, y_tangent, direction)
        fj.linear(head, y, friction)
        fj.linear(head, y_tangent, friction_tangent)  # which has no bias, or it would be added here
        for n in range(B):
            (angle, speed), (angle_tangent, speed_tangent) = at[n], tangents[t, n]
            speed_tangent -= DT * (np.cos(angle) * angle_tangent + DAMPING * speed_tangent + friction_tangent[n, 0])
            speed += DT * (push[t, n] - np.sin(angle) - DAMPING * speed - friction[n, 0])
            at[n] = angle + DT * speed, speed
            tangents[t + 1, n] = angle_tangent + DT * speed_tangent, speed_tangent


class Simulator:
    """The loops above for a layer and its readout; what a run leaves is kept for its way back."""

    def __init__(self, cell: str, units: int, seed: int) -> None:
        self.layer = CELLS[cell](2, units, init="keras", dtype="float64", seed=seed)
        self.head = fg.Linear(units, 1, bias=False, dtype="float64", seed=seed + 1)

    def run(self, start: Array, push: Array, *, recorded: bool = False) -> Array:
        """start (B,2)  push (T,B) -> path (T+1,B,2)"""
        (steps, B), cell, head = push.shape, self.layer.jit(), self.head.jit()
        self.tape = fj.new_tape(cell, steps, B) if recorded else None
        self.path, self.outputs = np.empty((steps + 1, B, 2)), np.empty((steps, B, self.layer.hidden_size))
        simulate(cell, head, start, push, self.tape, self.path, self.outputs, np.empty((steps, B, 1)))
        return self.path

    def backward(self, d_path: Array) -> tuple[Array, Array, Array]:
        """Of the last run, recorded: gradients in the parameters of layer and head, and in the start."""
        cell, head, d_start = self.layer.jit(), self.head.jit(), np.empty(d_path.shape[1:])
        d_cell, d_head = fj.new_gradient(cell), fj.new_gradient(head)
        simulate_backward(cell, head, self.tape, self.path, self.outputs, d_path, d_cell, d_head, d_start)
        return d_cell, d_head, d_start

    def tangents(self, start: Array, push: Array, direction: Array, start_tangent: Array) -> Array:
        """How the path moves when the layer's parameters and the start move in these directions."""
        turned, found = self.layer.replace(), np.empty((len(push) + 1, *start.shape))
        turned.params.flat = direction
        simulate_tangent(self.layer.jit(), self.head.jit(), start, push, turned.jit(), start_tangent, found)
        return found


# --------------------------------------------------------------------------------------------- what is to be simulated


def observe(rng: np.random.Generator, count: int, steps: int) -> tuple[Array, Array]:
    """So many runs of the whole truth: push (T,B) and path (T+1,B,2)."""
    times = DT * np.arange(steps)
    periods, phases = rng.uniform(3, 15, (3, count)), rng.uniform(0, 2 * np.pi, (3, count))
    push = 0.25 * np.sin(2 * np.pi * times[:, None, None] / periods + phases).sum(axis=1)
    state = np.zeros((3, count))
    state[:2] = rng.uniform(-1, 1, (2, count))
    path = [state[:2].T]

    def rate(state: Array, push: Array) -> Array:
        angle, speed, bend = state
        bending = STIFFNESS * (speed - 0.7 * np.abs(speed) * bend - 0.3 * speed * np.abs(bend))
        return np.stack([speed, push - np.sin(angle) - DAMPING * speed - FRICTION * bend, bending])

    for push_now in push:  # which is held during a step
        for _ in range(SUBSTEPS):
            h = DT / SUBSTEPS
            k1 = rate(state, push_now)
            k2 = rate(state + h / 2 * k1, push_now)
            k3 = rate(state + h / 2 * k2, push_now)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(state + h * k3, push_now))
        path.append(state[:2].T)
    return push, np.ascontiguousarray(np.stack(path))  # or the simulator would be compiled for other strides, too


# ------------------------------------------------------------------------------------------------------------ training


def compile_all(simulator: Simulator, push: Array, measured: Array) -> None:
    """Numba compiles the loops when they are first called, without a word."""
    warn("compiling the simulator with its network, forward and back: up to some minutes, then cached ...")
    start, direction = measured[0], np.zeros(simulator.layer.params.flat.size)
    simulator.run(start, push)
    simulator.backward(np.zeros_like(simulator.run(start, push, recorded=True)))
    simulator.tangents(start, push, direction, np.zeros_like(start))


def through_the_solver(simulator: Simulator, push: Array, measured: Array, epochs: int) -> list[float]:
    """Whole runs follow what was measured; the loss after each epoch."""
    owners, losses = [simulator.layer.params, simulator.head.params], []
    adam, told = fg.Adam(fg.CosineDecay(1e-2, epochs)), Told("through the solver", epochs)
    for _ in range(epochs):
        path = simulator.run(measured[0], push, recorded=True)
        loss, d_path = fg.mse(path, measured)
        d_cell, d_head, _ = simulator.backward(d_path)
        fg.clip_gradient_norm([d_cell, d_head], 1.0)
        adam.step(owners, [d_cell, d_head])
        losses.append(loss)
        told.tell(len(losses), loss)
    return losses


def one_step_at_a_time(simulator: Simulator, push: Array, measured: Array, epochs: int) -> None:
    """The friction that explains the change of the measured speed, from measured angles and speeds."""
    (angle, speed), after = np.moveaxis(measured[:-1], 2, 0), measured[1:, :, 1]
    friction = push - np.sin(angle) - DAMPING * speed - (after - speed) / DT
    model = fg.Sequential(simulator.layer, simulator.head)
    x, y = measured[:-1].swapaxes(0, 1), friction.T[..., None]
    adam, told = fg.Adam(fg.CosineDecay(1e-2, epochs)), Told("one step at a time", epochs)
    model.fit(x, y, loss="mse", optimizer=adam, epochs=epochs, clip_norm=1.0, callbacks=[told])


# -------------------------------------------------------------------------------------------------------- the program


def compare(options: Namespace) -> None:
    rng = np.random.default_rng(options.seed)
    push, path = observe(rng, RUNS, STEPS)
    measured = path + NOISE * rng.standard_normal(path.shape)
    say(f"{RUNS} measured runs of {STEPS * DT:.0f} s, {1 / DT:.0f} steps a second, noise {NOISE}")
    ours, taught, alone = (Simulator(options.cell, options.units, options.seed) for _ in range(3))
    alone.head.params.flat = 0 * alone.head.params.flat
    compile_all(ours, push[:2], measured)

    one_step_at_a_time(ours, push, measured, options.epochs)  # which is a good start
    losses = through_the_solver(ours, push, measured, options.epochs)
    one_step_at_a_time(taught, push, measured, 2 * options.epochs)
    say(f"{options.epochs} epochs one step at a time, then {options.epochs} through the solver: mean squared distance")
    say(f"from what was measured {losses[0]:.5f} before, {losses[-1]:.5f} after; of the noise it is {NOISE**2:.5f}")
    check_derivatives(ours, push, measured, rng)

    push, path = observe(np.random.default_rng(options.seed + 1), NEW_RUNS, TIMES_LONGER * STEPS)  # for all cells
    methods = {"physics alone": alone, "one step at a time": taught, "through the solver": ours}
    results = {name: simulator.run(path[0], push) for name, simulator in methods.items()}
    say(f"\nroot mean squared error of the angle in {NEW_RUNS} new runs, which begin with what is true")
    say(f"{'':22}{f'{STEPS * DT:.0f} s':>10}{f'{len(push) * DT:.0f} s':>10}")
    for name, found in results.items():
        errors = np.square(found - path)[1:, :, 0]
        say(f"  {name:20}{np.sqrt(errors[:STEPS].mean()):10.4f}{np.sqrt(errors.mean()):10.4f}")
    say(f"  {'always at rest':20}{path[1 : STEPS + 1, :, 0].std():10.4f}{path[1:, :, 0].std():10.4f}")
    say_speed(ours, path[0], push)
    if options.plot is not None:
        save_picture(options.plot, draw(path, results))


def check_derivatives(simulator: Simulator, push: Array, measured: Array, rng: np.random.Generator) -> None:
    """Of the loss in one direction of all parameters of the layer and all starts, both ways."""
    start, layer = measured[0], simulator.layer
    direction, start_direction = rng.standard_normal(layer.params.flat.size), rng.standard_normal(start.shape)
    _, d_path = fg.mse(simulator.run(start, push, recorded=True), measured)
    d_cell, _, d_start = simulator.backward(d_path)
    reverse = np.vdot(d_cell, direction) + np.vdot(d_start, start_direction)
    forward = np.vdot(d_path, simulator.tangents(start, push, direction, start_direction))
    apart = abs(forward - reverse) / abs(reverse)
    say(f"\na derivative of the loss: reverse mode {reverse:.12e}, forward mode {forward:.12e}, apart {apart:.0e}")


def say_speed(simulator: Simulator, start: Array, push: Array) -> None:
    """Of one run and of all together; compiled already."""
    say()
    for count in (1, len(start)):
        own_push, seconds = np.ascontiguousarray(push[:, :count]), []  # or it would be compiled for slices, too
        for _ in range(5):
            before = perf_counter()
            simulator.run(start[:count], own_push)
            seconds.append(perf_counter() - before)
        rate = len(push) * count / np.median(seconds)
        say(f"simulated {count:3} at a time: {rate:12,.0f} steps a second, each with a step of the network")


def draw(path: Array, results: dict[str, Array]) -> Any:
    figure, ((left, right),) = panels(1, 2, width=12.0, height=4.8)
    colors = dict(zip(results, (GREEN, ORANGE, BLUE), strict=True))
    times, last = DT * np.arange(len(path)), slice(-2 * STEPS, None)
    truth = path[last, 0, 0]
    middle, reach = (truth.max() + truth.min()) / 2, 0.75 * np.ptp(truth)
    left.plot(times[last], truth, color=GRAY, linewidth=3, label="the truth")
    for name, found in results.items():
        shown = found[last, 0, 0]
        is_far = bool(np.abs(shown - middle).min() > reach)
        left.plot(times[last], shown, color=colors[name], label=name + ", off the scale" * is_far)
        right.semilogy(times[1:], np.abs(found - path)[1:, :, 0].mean(axis=1), color=colors[name])
    left.set(xlabel="seconds", ylabel="angle, radians", title="the end of a new run")
    left.set_ylim(middle - reach, middle + reach)
    right.set(xlabel="seconds", ylabel="radians", title="mean absolute error of the angle")
    legend_below(left)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("neural_closure", __doc__, epochs=(500, 150))
    options.add_argument("--units", type=at_least(1), default=16, metavar="H", help="default: %(default)s")
    return run(compare, options, argv)


if __name__ == "__main__":
    sys.exit(main())
