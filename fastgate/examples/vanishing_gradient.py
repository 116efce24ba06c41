"""How fast a gradient vanishes on its way back through time: the norm of dh(T)/dh(T-k) against k.

The Jacobian of the last output in the state of k steps before is found by going backwards, one step at a time, from the
identity. For an LSTM there are two: in h, and in the cell state c, the path that it was invented for. What gets through
that is decided by the forget gate: about half in every step where the biases are small (``init="pytorch"``), more where
that gate's begin at 1 (``init="keras"``), and nearly all where the layer has learnt to remember: the third measurement
is made after a training in which the first value of a sequence has to be named at its end.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastgate as fg
from fastgate.examples._program import CELLS, COLORS, Array, at_least, panels, parser, run, save_picture, say

FEATURES, SEQUENCES = 8, 8
REMEMBERED = 30  # steps, in the training

Curves = dict[tuple[str, str], Array]  # (cell, "h" or "c") -> norms for k = 1, 2, ...


def norms(layer: Any, x: Array) -> dict[str, Array]:
    """Of one sequence x (T,I): spectral norms (T) of dh(T)/dh(T-k), k = 1 to T; for an LSTM of dh(T)/dc(T-k) too."""
    T, H = len(x), layer.hidden_size
    state, tapes = None, []
    for t in range(T):
        same = np.broadcast_to(x[t], (H, 1, FEATURES))  # a row of the batch for each row of the Jacobian
        _, state, tape = layer.forward(same, state)
        tapes.append(tape)

    identity = np.eye(H, dtype=layer.dtype)[None]
    has_c = isinstance(state, tuple)
    d_state: Any = (identity, np.zeros_like(identity)) if has_c else identity
    found: dict[str, list[Any]] = {"h": [], "c": []}
    for tape in reversed(tapes):
        d_state = layer.backward(tape, dstate=d_state).state
        for name, jacobian in zip("hc", d_state if has_c else (d_state,), strict=False):
            found[name].append(np.linalg.norm(jacobian[0], 2))
    return {name: np.array(values) for name, values in found.items() if values}


def measure(options: Namespace, layer_of: Callable[[str, int], Any]) -> Curves:
    """Geometric means over some sequences, each through a layer of its own (or the same)."""
    steps = REMEMBERED if options.quick else options.steps
    logarithms: dict[tuple[str, str], list[Array]] = {}
    for seed in range(options.seed, options.seed + SEQUENCES):
        x = np.random.default_rng(seed).standard_normal((steps, FEATURES), np.float32)
        for cell in CELLS:
            for state, values in norms(layer_of(cell, seed), x).items():
                logarithms.setdefault((cell, state), []).append(np.log(np.maximum(values, 1e-40)))
    return {key: np.exp(np.mean(values, axis=0)) for key, values in logarithms.items()}


def learn_to_remember(cell: str, options: Namespace) -> Any:
    """A layer that says what the first number of a sequence was."""
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((1000, REMEMBERED, FEATURES), np.float32)
    layer = CELLS[cell](FEATURES, options.units, init="keras", seed=options.seed)
    model = fg.Sequential(layer, fg.FinalState(), fg.Linear(options.units, 1, init="keras", seed=options.seed + 1))
    history = model.fit(
        x, x[:, 0, :1], loss="mse", optimizer=fg.Adam(3e-3), epochs=options.epochs, clip_norm=1.0, seed=options.seed
    )
    if history.interrupted:
        raise KeyboardInterrupt
    say(f"{cell.upper():4} learns to remember the first of {REMEMBERED}: squared error {history['loss'][-1]:.3f} of 1")
    return layer


def compare(options: Namespace) -> None:
    def initialised(init: str) -> Callable[[str, int], Any]:
        return lambda cell, seed: CELLS[cell](FEATURES, options.units, init=init, seed=seed)

    trained = {cell: learn_to_remember(cell, options) for cell in CELLS}
    results = {f'as initialised by init="{init}"': measure(options, initialised(init)) for init in ("pytorch", "keras")}
    results["after learning to remember"] = measure(options, lambda cell, seed: trained[cell])

    for name, curves in results.items():
        steps = len(next(iter(curves.values())))
        lags = [k for k in (1, 3, 10, 30, 100, 300) if k <= steps]
        say(f"\n{name}\n  norm of dh(T) /" + "".join(f"{f'k={k}':>10}" for k in lags))
        for (cell, state), values in curves.items():
            shown = "".join(f"{values[k - 1]:10.1e}" for k in lags)
            per_step = (values[-1] / values[steps // 2 - 1]) ** (1 / (steps - steps // 2))
            say(f"  {cell.upper():4} d{state}(T-k)   {shown}   x {per_step:.2f} a step")
    if options.plot is not None:
        save_picture(options.plot, draw(options, results))


def draw(options: Namespace, results: dict[str, Curves]) -> Any:
    figure, (axes,) = panels(1, len(results), width=14.0, height=4.5)
    for panel, (name, curves) in zip(axes, results.items(), strict=True):
        for (cell, state), values in curves.items():
            style, label = ("-", f"{cell.upper()}, h") if state == "h" else ("--", f"{cell.upper()}, cell state c")
            panel.plot(range(1, len(values) + 1), values, style, color=COLORS[cell], label=label)
        panel.sharey(axes[0])
        panel.set(yscale="log", xlabel="k, steps back", title=name)
    axes[0].set_ylabel("norm of dh(T) / dh(T-k), or / dc(T-k)")
    axes[0].legend(frameon=False)
    figure.suptitle(f"Gradients on their way back through time: {options.units} units, mean of {SEQUENCES} sequences")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("vanishing_gradient", __doc__, epochs=(30, 6), cell=False)
    options.add_argument("--units", type=at_least(1), default=32, metavar="H", help="default: %(default)s")
    options.add_argument("--steps", type=at_least(2), default=100, metavar="T", help="default: %(default)s")
    return run(compare, options, argv)


if __name__ == "__main__":
    sys.exit(main())
