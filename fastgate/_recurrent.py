"""The calls that LSTM, GRU and RNN share."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastgate import _errors, _stack
from fastgate._arrays import Array, as_flag, as_recompute, as_size
from fastgate._params import NamedArrays
from fastgate._step import Steps
from fastgate._tangent import Tangents
from fastgate._tape import Gradients, State, Tape, check_tape


class Recurrent(Steps, Tangents):
    """Base of the recurrent layers; see `LSTM`, `GRU` and `RNN`."""

    def __call__(
        self,
        x: npt.ArrayLike,
        state: Any = None,
        *,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[Array, State]:
        """Run the layer for inference: no dropout, nothing is kept.

        Parameters
        ----------
        x : array_like, (B, T, I), or (T, B, I) with ``batch_first=False``, or unbatched (T, I)
        state : array_like or pair of array_like, (num_layers * D, B, H); unbatched (num_layers * D, H)
            The start: ``(h, c)`` for an LSTM, ``h`` otherwise. Zeros by default. With a projection h and y have P
            units in place of H, and c keeps H.
        lengths : array_like of int, (B,), optional
            Steps of each sequence, 0 to T, in any order. What lies beyond is never read, `y` is 0 there, and the
            state stays as it was after the sequence's last step.
        mask : array_like of bool, (B, T), or (T, B) with ``batch_first=False``, or unbatched (T,), optional
            Not beside `lengths`. A step where it is False is skipped: `x` is never read there, `y` is 0, and the state
            stays as it is.
        reset : array_like of bool, shaped as `mask`, optional
            Before a step where it is True the sequence's state is set to zeros, also where `mask` skips that step;
            beyond `lengths` it is never read. Nothing else crosses that border either: each segment between two resets
            is a sequence of its own, and segments may run side by side. So a reverse direction begins with zeros at
            a segment's last step; it takes up `state` at the last step of all, and ends with the first.
        out : ndarray, the shape of y, optional
            Where to write `y`: C-contiguous, in the layer's dtype, and sharing memory with neither `x` nor `state`.
            Small calls of the same shapes, without `lengths`, `mask` and `reset`, then allocate nothing but
            states.

        Returns
        -------
        y : ndarray, (B, T, D * H), or as `x` is laid out
            The top layer's output, in the layer's dtype; `out` if that is given.
        state : as the argument
            Each sequence's final state.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; the message names it.
        """
        border = self._border
        if border.RUNS_IN_STRETCHES and lengths is mask is reset is None:
            found: tuple[Array, State] | None = border.in_stretches(self, x, state, out)
            if found is not None:
                return found
        own, batch, _ = border.read_batch(self, self._cell, x, lengths, mask, reset)
        start = border.read_states(self, "state", state, batch.zeros, unbatched=batch.is_unbatched)
        y = None if out is None else border.check_output(self, out, batch, own, start)
        start, end = border.states_of_run(self, batch, start)
        y = _stack.forward(self, self.params._snapshot, own, batch, start, end, y)
        return border.write_output(batch, y, out), border.write_end(self, batch, end)

    def forward(
        self,
        x: npt.ArrayLike,
        state: Any = None,
        *,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
        training: bool = True,
        rng_key: int | None = None,
        copy: bool = True,
        recompute: int | str | None = None,
    ) -> tuple[Array, State, Tape]:
        """Run the layer and keep what `backward` needs.

        Parameters
        ----------
        x, state, lengths, mask, reset
            As in calling the layer.
        training : bool
            Apply dropout between layers, and recurrent dropout.
        rng_key : int, 0 or more
            Names the dropout masks, which are a pure function of (seed, rng_key, layer, time, row, unit), those of
            recurrent dropout of (seed, rng_key, layer, direction, gate, row, unit): the same key draws the same masks.
            Needed when dropout is applied; the number of the training step is a good choice. Resets change no mask.
        copy : bool
            False lets the tape refer to `x` itself where its layout allows; then it must not change until `backward`.
        recompute : "auto" or int, optional
            Keep only the states at every so many steps (rounded up: the sums over rows are cut there), and compute the
            rest again in `backward`, which takes as long as another `forward`. "auto" takes the number of steps that
            needs the least memory, which grows with the square root of T beside the input of each layer. The gradients
            are the same to the last bit; on a GPU those of parameters differ by roundings, as the sums over rows are
            cut where stretches end.

        Returns
        -------
        y : ndarray, (B, T, D * H)
            Read-only.
        state : as the argument
        tape : Tape

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; the message names it.
        """
        key = None if rng_key is None else as_size("rng_key", rng_key, least=0)
        as_flag("copy", copy)
        dropout_key = None
        if as_flag("training", training) and (self.recurrent_dropout or (self.dropout and self.num_layers > 1)):
            if key is None:
                raise _errors.key_needed(self.dropout, self.recurrent_dropout)
            dropout_key = key
        recompute, cell, border = as_recompute(recompute), self._cell_of(dropout_key), self._border
        own, batch, is_copy = border.read_batch(self, cell, x, lengths, mask, reset)
        given = border.read_states(self, "state", state, batch.zeros, unbatched=batch.is_unbatched)
        start, end = border.states_of_run(self, batch, given)
        if copy and not is_copy:
            own = own.copy()
        snapshot = self.params._snapshot
        steps = None
        if recompute is not None:
            steps = self._kernels.steps_of_stretch(batch.schedule, None if recompute == "auto" else recompute)
        y, records = _stack.record(self, cell, snapshot, own, batch, start, end, dropout_key, steps)
        tape = Tape(self.params, snapshot, batch, records, dropout_key)
        return border.write_output(batch, y, is_locked=True), border.write_end(self, batch, end), tape

    def backward(
        self, tape: Tape, dy: npt.ArrayLike | None = None, dstate: Any = None, *, per_sample: bool = False
    ) -> Gradients:
        """Back-propagation through time.

        Parameters
        ----------
        tape : Tape
            From `forward` of this layer, whose parameters have not been written since. It can be used again.
        dy : array_like, the shape of y, optional
            Gradient of the loss in `y`; never read beyond a sequence's length, or where the mask is False.
        dstate : array_like or pair, the shape of the state, optional
            Gradient of the loss in the final state. For an LSTM either of the pair may be None.
        per_sample : bool
            Do not add up the gradients in the parameters over the batch: each array in ``params`` has a leading axis
            of its B sequences, ``flat`` is (B, P). Takes B times the memory of the parameters, and a tape without
            `recompute`.

        Returns
        -------
        Gradients
            ``x``, ``state`` and ``params`` (a mapping with a vector ``flat`` behind it), all of them fresh arrays.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, neither `dy` nor `dstate` is given, the tape is of another
            layer, or the parameters have been written since.
        """
        check_tape(tape, Tape, self)
        batch, border, empty = tape.batch, self._border, self._kernels.empty
        end = border.read_states(self, "dstate", dstate, batch.zeros, unbatched=batch.is_unbatched)
        if dy is None and (dstate is None or (type(dstate) is tuple and all(part is None for part in dstate))):
            raise _errors.nothing_to_propagate()
        end = border.end_gradient(self, batch, end)
        start = [empty(part.shape, self.dtype) for part in end]
        if as_flag("per_sample", per_sample) and not isinstance(tape.records[0].tape, self._kernels.Trace):
            raise _errors.wrong_value("per_sample", "False for a tape recorded with recompute", True)
        size = self.params.flat.size
        found = empty((batch.size, size) if per_sample else size, self.dtype)
        gradients = NamedArrays(found, self._layout.shapes)
        dx = _stack.backward(self, tape, border.read_output_gradient(self, dy, batch), end, start, gradients)
        start = border.start_gradient(self, batch, start)
        return Gradients(border.write_output(batch, dx), border.write_states(batch, start), gradients)

    def quantized(self, weights: str) -> Recurrent:
        """The same layer for inference only, its weights stored small: faster where they must come from far away.

        Products are summed up in float32, and biases and states stay float32. See `Quantized` for what it costs.

        Parameters
        ----------
        weights : "bfloat16", "float16" or "int8"
            Integers have one scale for each unit and gate. All formats round to nearest even.

        Returns
        -------
        Quantized
            A copy that can be called and stepped; its `params` hold the rounded weights and cannot be written.

        Raises
        ------
        TypeError, ValueError
            If the format is none of these, the layer's dtype is not float32, or a weight is not finite or would not be
            in this format.
        """
        from fastgate._quantized import Quantized  # which is made of this class

        return Quantized(self, weights)

    def jit(self) -> Any:
        """A snapshot of the weights for the functions of `fastgate.jit`, which a user's own ``@njit`` loop calls.

        Returns
        -------
        cell
            A NamedTuple of packed arrays. Later writes to `params` do not change it. It may be shared by threads,
            pickled, and handed to compiled functions as an argument; a global variable would be compiled in.

        Raises
        ------
        ValueError
            If the layer is bidirectional or quantized, or has activations, a projection or other options that are not
            the usual ones; the message names them.
        """
        from fastgate import _embedded

        return _embedded.recurrent_cell(self.to("cpu"))
