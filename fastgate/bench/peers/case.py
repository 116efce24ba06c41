"""What is computed: the same arrays for every library."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Run = Callable[[], Any]

GATES = {"LSTM": "ifgo", "GRU": "rzn", "GRU reset_before": "rzn", "RNN": "n"}


class Case(NamedTuple):
    """One work in one shape."""

    work: str
    cell: str
    x: Array  # (B,T,I), or (B,I) for a step
    dy: Array  # (B,T,H)
    W_ih: Array  # (G*H,I), gates in PyTorch's order
    W_hh: Array  # (G*H,H)
    b_ih: Array  # (G*H)
    b_hh: Array  # (G*H), zero where the equations have one bias only

    @property
    def layer(self) -> str:
        """ "LSTM", "GRU" or "RNN"."""
        return self.cell.split()[0]

    @property
    def sizes(self) -> tuple[int, int]:
        """Of the input and of the state."""
        return self.W_ih.shape[1], self.W_hh.shape[1]

    def start(self) -> tuple[Array, ...]:
        """h, and c of an LSTM: zeros (B,H)."""
        h, c = np.zeros((2, len(self.x), self.sizes[1]), self.x.dtype)
        return (h, c) if self.cell == "LSTM" else (h,)

    def weights(self, gates: str) -> list[Array]:
        """W_ih, W_hh, b_ih and b_hh with another order of gates."""
        order = [GATES[self.cell].index(gate) for gate in gates]
        blocks = [np.split(w, len(order)) for w in (self.W_ih, self.W_hh, self.b_ih, self.b_hh)]
        return [np.concatenate([block[at] for at in order]) for block in blocks]


def make_case(work: str, cell: str, shape: str, dtype: str) -> Case:
    """`shape`: "B,T,I,H", or "B,I,H" for a step."""
    *batch_and_time, I, H = map(int, shape.split(","))
    rng, rows, bound = np.random.default_rng(0), len(GATES[cell]) * H, H**-0.5
    x, dy = (rng.standard_normal((*batch_and_time, size)) for size in (I, H))
    W_ih, W_hh = (rng.uniform(-bound, bound, (rows, size)) for size in (I, H))
    b_ih, b_hh = rng.uniform(-bound, bound, (2, rows))
    if cell == "GRU reset_before":
        b_hh[:] = 0
    return Case(work, cell, *(array.astype(dtype) for array in (x, dy, W_ih, W_hh, b_ih, b_hh)))


def load(library: str) -> Any:
    """A module that need not be installed."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        missing = (error.name or library).partition(".")[0]
        raise NotImplementedError(f"{library}: {missing} is not installed") from None
