"""The options of a recurrent layer, checked, and what follows from them: parameters, layout, kernels."""

import threading
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import as_choice, as_dtype, as_flag, as_probability, as_size, new_seed
from fastgate._kernels import cpu, on
from fastgate._params import Params
from fastgate._placed import Placed, as_device
from fastgate._weights import INITIALIZERS, Initialization, Layout

PRECISIONS = "highest", "high", "medium", "bfloat16", "float16"  # of products of float32 on a GPU
TRANSIENT = "_cell", "_kernels", "_border", "_local", "_multiply_adds"  # what is not copied with a layer


def border_of(device: str) -> Any:
    """The module that reads a user's arrays for the kernels of a device."""
    from fastgate import _border, _device_border  # which are about what is configured here

    return _border if device == "cpu" else _device_border


class Configured(Placed):
    """Everything about a layer but its calls, for which see `Recurrent`."""

    _gates: str  # their names in the order of the parameters
    _cell: Any
    _kernels: Any  # those of its device
    _border: Any  # what goes between a user's arrays and them
    _multiply_adds: int
    _local: threading.local

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        cell: dict[str, Any],
        usual: dict[str, Any],
        proj_size: int = 0,
        bias: bool | str,
        batch_first: bool,
        dropout: float,
        recurrent_dropout: float,
        bidirectional: bool,
        dtype: npt.DTypeLike,
        device: str,
        precision: str,
        seed: int | None,
        init: str,
    ) -> None:
        self.input_size = as_size("input_size", input_size)
        self.hidden_size = as_size("hidden_size", hidden_size)
        self.num_layers = as_size("num_layers", num_layers)
        self.bias = as_choice("bias", bias, (True, False, "single"))
        self.batch_first = as_flag("batch_first", batch_first)
        self.bidirectional = as_flag("bidirectional", bidirectional)
        self.dropout = as_probability("dropout", dropout)
        self.recurrent_dropout = as_probability("recurrent_dropout", recurrent_dropout)
        self.dtype = as_dtype(dtype)
        self.device = as_device(device)
        self.precision = as_choice("precision", precision, PRECISIONS)
        self.init = as_choice("init", init, tuple(INITIALIZERS))
        if self.dropout and self.num_layers == 1:
            warnings.warn("dropout acts between layers and does nothing in a layer of num_layers=1", stacklevel=3)
        self.seed = new_seed() if seed is None else as_size("seed", seed, least=0)

        self._usual = usual
        self._cell_options = cell
        traits = self._kernel_cell()
        if self.bias is False:
            kind = "none"
        else:
            kind = "single" if self.bias == "single" or traits.has_single_bias else "double"
        sizes = self.input_size, self.hidden_size, self.num_layers, 1 + self.bidirectional
        peepholes = tuple(self._gates[gate] for gate in traits.peephole_gates)
        if proj_size >= self.hidden_size:
            raise _errors.wrong_value("proj_size", f"less than hidden_size, which is {self.hidden_size}", proj_size)
        output_size = proj_size or self.hidden_size
        self._layout = Layout(*sizes, len(self._gates), kind, traits.has_candidate_bias, peepholes, output_size)
        self.params = Params(self._layout.shapes, self.dtype, self.device)
        with self.params.edit() as arrays:
            INITIALIZERS[self.init](
                np.random.default_rng(self.seed), Initialization(arrays, self._layout, self._gates.find("f"))
            )
        self._make_transient()
        self._freeze()

    def _make_transient(self) -> None:
        """Found again for every copy."""
        self.__dict__.update(
            _cell=self._kernel_cell(),
            _kernels=on(self.device),
            _border=border_of(self.device),
            _multiply_adds=self._layout.multiply_adds(),
            _local=threading.local(),
        )

    def _kernel_cell(self, **options: Any) -> Any:
        """The cell of this layer's options, and of these; an error where its device is not there."""
        if self.device == "cpu":
            return cpu.cell(**self._cell_options, **options)
        kernels = on(as_device(self.device))  # which a file may have brought to a machine without one
        return kernels.cell(**self._cell_options, precision=self.precision, **options)

    def _cell_of(self, dropout_key: int | None) -> Any:
        """The cell, or that of recurrent dropout, whose kernels are compiled on first use."""
        if dropout_key is None or not self.recurrent_dropout:
            return self._cell
        return self._kernel_cell(masked=True)

    def _pack(self, *arguments: Any) -> Any:
        """One direction's weights as the kernels take them: the arguments of `pack_weights`."""
        return self._kernels.pack_weights(*arguments)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in TRANSIENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The very dtype object: an unpickled one is merely equal.
        super().__setstate__(state | {"dtype": as_dtype(state["dtype"])})
        self._make_transient()

    def __repr__(self) -> str:
        defaults: dict[str, Any] = {"num_layers": 1, "bias": True, "batch_first": True, "dropout": 0.0}
        defaults |= {
            "device": "cpu",
            "precision": "highest",
            "bidirectional": False,
            "init": "pytorch",
            **self._usual,
            "recurrent_dropout": 0.0,
        }
        options = {name: getattr(self, name) for name, usual in defaults.items() if getattr(self, name) != usual}
        options |= {"dtype": self.dtype.name} if self.dtype != np.float32 else {}
        inside = [
            str(self.input_size),
            str(self.hidden_size),
            *(f"{name}={value!r}" for name, value in options.items()),
        ]
        return f"{type(self).__name__}({', '.join(inside)})"
