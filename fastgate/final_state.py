"""From a recurrent layer's final state to one vector for each sequence."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_flag, as_size, zeros_beside
from fastgate._frozen import Frozen
from fastgate._places import as_floating_there, as_numbers
from fastgate._tape import State


class FinalStateTape(NamedTuple):
    """What `FinalState.backward` needs to know of the state."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    y_shape: tuple[int, ...]
    rows: int  # of the state, from its end
    c_shape: tuple[int, ...] | None  # None where the state is h alone


class FinalState(Frozen):
    """The final state of the recurrent layer before it, as the input of what follows; of an LSTM, its h.

    Unlike ``y[:, -1]`` it is right for sequences of unequal length and for both directions: each has its own last step.

    Parameters
    ----------
    all_layers : bool
        False: the top layer's, (B, D * H), forward direction first. True: every layer's, (B, num_layers * D, H).

    Raises
    ------
    ValueError
        If the option is no boolean.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> model = fg.Sequential(fg.GRU(3, 5, bidirectional=True), fg.FinalState(), fg.Linear(10, 2))
    >>> model(np.zeros((4, 7, 3))).shape
    (4, 2)
    """

    def __init__(self, all_layers: bool = False) -> None:
        self.all_layers = as_flag("all_layers", all_layers)
        self._freeze()

    def __call__(self, state: Any, *, directions: int = 1) -> Array:
        """As `forward`, without the tape."""
        return self.forward(state, directions=directions)[0]

    def forward(self, state: Any, *, directions: int = 1) -> tuple[Array, FinalStateTape]:
        """Lay out a final state; a model calls it with that of the layer before.

        Parameters
        ----------
        state : ndarray or pair of ndarray, (num_layers * D, B, H) or unbatched (num_layers * D, H)
            As a recurrent layer returned it.
        directions : int
            D.

        Returns
        -------
        y : ndarray, (B, D * H) or (B, num_layers * D, H); unbatched (D * H,) or (num_layers * D, H)
        tape : FinalStateTape
        """
        h = as_numbers("state", state[0] if isinstance(state, tuple) else state)
        if h.ndim not in (2, 3):
            raise _errors.wrong_shape("state", "(layers, batch, hidden) or (layers, hidden)", h.shape)
        rows = h.shape[0] if self.all_layers else as_size("directions", directions)
        y = (h[-rows:] if h.ndim == 2 else h[-rows:].swapaxes(0, 1)).copy()
        if not self.all_layers:
            y = y.reshape(*y.shape[:-2], rows * h.shape[-1])
        c_shape = np.shape(state[1]) if isinstance(state, tuple) else None
        return y, FinalStateTape(h.shape, h.dtype, y.shape, rows, c_shape)

    def backward(self, tape: FinalStateTape, dy: npt.ArrayLike) -> State:
        """From the gradient in y to that in the state.

        Parameters
        ----------
        tape : FinalStateTape
        dy : array_like, the shape of y

        Returns
        -------
        dstate : as the state was, zero where y does not depend on it
        """
        own = as_floating_there("dy", dy, tape.dtype)
        if own.shape != tape.y_shape:
            raise _errors.wrong_shape("dy", f"that of y, {tape.y_shape}", own.shape)
        dh = zeros_beside(own, tape.shape)
        if len(tape.shape) == 2:
            dh[-tape.rows :] = own.reshape(tape.rows, -1)
        else:
            dh[-tape.rows :] = own.reshape(tape.shape[1], tape.rows, tape.shape[2]).swapaxes(0, 1)
        return dh if tape.c_shape is None else (dh, zeros_beside(own, tape.c_shape))

    def __repr__(self) -> str:
        return f"FinalState({'all_layers=True' if self.all_layers else ''})"
