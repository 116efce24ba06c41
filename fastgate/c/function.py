"""A layer's step behind a pointer to a C function."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from fastgate import _errors, _stack
from fastgate._arrays import Array, as_floating, as_size
from fastgate._configuration import Configured
from fastgate._weights import Place
from fastgate.c.literals import REALS


class CFunction:
    """What `LSTM.cfunc` and the others return: a C function that advances one sequence by one time step.

    ::

        void step(const void *cell, const REAL *x, REAL *state, REAL *y);

    REAL is float or double, the layer's dtype; x has I entries and y as many as h has units, H (with a projection P).
    `state` is the caller's memory, read and written: h of all layers (num_layers, H), and behind it, of an LSTM, c
    (num_layers, H); the last entries of h are y. Zeros start a sequence. Results are those of `layer.step`, bit for
    bit.

    Any number of threads may call it at once, each with a state of its own; it takes no lock, allocates nothing,
    never fails, and takes room for some ``8 * hidden_size`` numbers on the stack. Nothing is checked.
    The machine code, and the weights behind `cell`, live as long as this object. It does not see later writes to the
    layer's parameters. For one step from Python `layer.step` is quicker, and checks.

    Attributes
    ----------
    address : int
        Of the function.
    cell : int
        Its first argument.
    dtype : numpy.dtype
    input_size, output_size, state_size : int
        Entries of x, y and the state.
    signature : str
        As above, without names: what ``ffi.cast(signature, address)`` of cffi takes.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> step = fg.GRU(3, 5, seed=0).cfunc()
    >>> x, state, y = np.ones(3, step.dtype), step.new_state(), np.empty(5, step.dtype)
    >>> step.ctypes(step.cell, x.ctypes, state.ctypes, y.ctypes)
    >>> bool((y == state).all())
    True
    """

    def __init__(self, layer: Configured) -> None:
        if layer.bidirectional:
            raise _errors.no_single_step("cfunc")
        snapshot, layout, L = layer.params._snapshot, layer._layout, layer.num_layers
        packed = [_stack.packed(layer, layer._cell, snapshot, Place(depth, 0)) for depth in range(L)]
        memory_units = layer.hidden_size if layer._cell.has_memory else 0
        sizes = L, layer.input_size, layout.output_size, layer.hidden_size, memory_units
        self._callbacks = layer._cell.callbacks_for(layer.dtype, packed[0].W_ih.dtype)
        self._words = self._callbacks.layers.words([(*sizes, *weights) for weights in packed])
        self._kept = packed  # the words are addresses of these
        self._description = repr(layer)
        self.dtype = layer.dtype
        self.input_size, self.output_size = layer.input_size, layout.output_size
        self.state_size = L * (layout.output_size + memory_units)
        self.address: int = self._callbacks.step().address
        self.cell: int = self._words.ctypes.data
        real = REALS[layer.dtype.name]
        self.signature = f"void (*)(const void *, const {real} *, {real} *, {real} *)"

    def new_state(self) -> Array:
        """Zeros, (state_size,), in the layer's dtype."""
        return np.zeros(self.state_size, self.dtype)

    @cached_property
    def ctypes(self) -> Any:
        """The function for ctypes: it takes four addresses, as `cell` and what an array's ``ctypes`` are."""
        return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(self.address)

    def low_level_callable(self, state: Any = None, *, output: int = 0) -> Any:
        """One entry of y as a function of x, for SciPy: a step from `state`, which stays as it is.

        Parameters
        ----------
        state : array_like, (state_size,), optional
            Copied. Zeros by default.
        output : int
            Which entry of y.

        Returns
        -------
        scipy.LowLevelCallable
            Of the signature ``double (int n, double *x, void *)``, which `scipy.integrate.quad` and ``nquad`` call:
            over ``x[0]``, and with ``args`` for the others. If n is not I its value is NaN. It keeps all that it needs.

        Raises
        ------
        TypeError, ValueError
            If `state` has a wrong shape or type, or there is no such output.
        """
        from scipy import LowLevelCallable  # which takes time to import

        start = np.array(self.new_state() if state is None else as_floating("state", state, self.dtype))
        if start.shape != (self.state_size,):
            raise _errors.wrong_shape("state", f"({self.state_size},)", start.shape)
        if as_size("output", output, least=0) >= self.output_size:
            raise _errors.wrong_value("output", f"at most {self.output_size - 1}", output)
        words = self._callbacks.start.words([(self._words, start.reshape(1, -1), output)])
        kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int, ctypes.POINTER(ctypes.c_double), ctypes.c_void_p)
        function, data = kind(self._callbacks.value().address), ctypes.c_void_p(words.ctypes.data)
        data.kept = self, start, words  # type: ignore[attr-defined]
        return LowLevelCallable(function, data)

    def __reduce__(self) -> NoReturn:
        raise _errors.addresses_inside("CFunction")

    def __repr__(self) -> str:
        return f"{self._description}.cfunc()"
