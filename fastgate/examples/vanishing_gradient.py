"""How fast a gradient vanishes on its way back through time: the norm of dh(T)/dh(T-k) against k.

The Jacobian of the last output in the state of k steps before is found by going backwards, one step at a time, from the
identity. For an LSTM there are two: in h, and in the cell state c, which is the path that it was invented for. Its size
is what a forget gate lets through: about 0.5 a step where the biases are small (``init="pytorch"``), more where that
gate's begins at 1 (``init="keras"``).
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgate.examples._program import CELLS, COLORS, Array, at_least, panels, parser, run, save_picture, say

FEATURES, SEQUENCES = 8, 8


def norms(layer: Any, x: Array) -> dict[str, Array]:
    """Of one sequence x (T,I): spectral norms (T) of dh(T)/dh(T-k), k = 1 to T, and where there is a c those in c."""
    T, H = len(x), layer.hidden_size
    state, tapes = None, []
    for t in range(T):
        same = np.broadcast_to(x[t], (H, 1, FEATURES))  # a row of the batch for each row of the Jacobian
        _, state, tape = layer.forward(same, state)
        tapes.append(tape)

    identity = np.eye(H, dtype=np.float32)[None]
    has_c = isinstance(state, tuple)
    d_state: Any = (identity, np.zeros_like(identity)) if has_c else identity
    found: dict[str, list[Any]] = {"h": [], "c": []}
    for tape in reversed(tapes):
        d_state = layer.backward(tape, dstate=d_state).state
        for name, jacobian in zip("hc", d_state if has_c else (d_state,), strict=False):
            found[name].append(np.linalg.norm(jacobian[0], 2))
    return {name: np.array(values) for name, values in found.items() if values}


def measure(options: Namespace, init: str) -> dict[tuple[str, str], Array]:
    """(cell, state) -> geometric means over the sequences, each through a layer of its own."""
    steps = 30 if options.quick else options.steps
    found: dict[tuple[str, str], list[Array]] = {}
    for number in range(SEQUENCES):
        seed = options.seed + number
        x = np.random.default_rng(seed).standard_normal((steps, FEATURES), np.float32)
        for cell, make in CELLS.items():
            layer = make(FEATURES, options.units, init=init, seed=seed)
            for state, values in norms(layer, x).items():
                found.setdefault((cell, state), []).append(np.log(values))
    return {key: np.exp(np.mean(values, axis=0)) for key, values in found.items()}


def show(options: Namespace) -> None:
    results = {init: measure(options, init) for init in ("pytorch", "keras")}
    for init, curves in results.items():
        steps = len(next(iter(curves.values())))
        lags = [k for k in (1, 3, 10, 30, 100, 300) if k <= steps]
        say(f'init="{init}": norm of the gradient of h(T)' + " " * 6 + "k = " + "".join(f"{k:>10}" for k in lags))
        for (cell, state), values in curves.items():
            shown = "".join(f"{values[k - 1]:10.1e}" for k in lags)
            per_step = (values[-1] / values[steps // 2 - 1]) ** (1 / (steps - steps // 2))
            say(f"  {cell.upper():4} in {state}(T-k){shown}   x {per_step:.2f} a step")
        say()
    if options.plot is not None:
        save_picture(options.plot, draw(options, results))


def draw(options: Namespace, results: dict[str, dict[tuple[str, str], Array]]) -> Any:
    figure, (axes,) = panels(1, len(results), width=10.5, height=4.5)
    for panel, (init, curves) in zip(axes, results.items(), strict=True):
        for (cell, state), values in curves.items():
            style, label = ("-", f"{cell.upper()}, h") if state == "h" else ("--", f"{cell.upper()}, cell state c")
            panel.plot(range(1, len(values) + 1), values, style, color=COLORS[cell], label=label)
        panel.set(yscale="log", xlabel="k, steps back", title=f'as initialised by init="{init}"')
        panel.sharey(axes[0])
    axes[0].set_ylabel("norm of dh(T) / dh(T-k), or / dc(T-k)")
    axes[0].legend(frameon=False)
    figure.suptitle(f"Gradients on their way back through time: {options.units} units, mean of {SEQUENCES} sequences")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("vanishing_gradient", __doc__, epochs=None, cell=False)
    options.add_argument("--units", type=at_least(1), default=32, metavar="H", help="default: %(default)s")
    options.add_argument("--steps", type=at_least(2), default=100, metavar="T", help="default: %(default)s")
    return run(show, options, argv)


if __name__ == "__main__":
    sys.exit(main())
