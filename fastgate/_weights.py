"""Which parameters a recurrent layer has, under PyTorch's names, and how they become the kernels' four arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from fastgate._allowance import check_tensors
from fastgate._arrays import Array
from fastgate._params import Shapes


class Place(NamedTuple):
    """One direction of one layer of a stack."""

    layer: int
    direction: int

    @property
    def suffix(self) -> str:
        return _suffix(self)


@cache
def _suffix(place: Place) -> str:
    return f"l{place.layer}" + ("_reverse" if place.direction else "")


@dataclass(frozen=True)
class Layout:
    """The parameters of a stack.

    `bias` is "double" (PyTorch: one for the input's product and one for the recurrent one), "single" or "none".
    `recurrent_candidate_bias`: a single bias leaves out b_hn, which a GRU with reset_after=True needs for itself.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    gates: int
    bias: str
    recurrent_candidate_bias: bool

    def places(self) -> Iterator[Place]:
        """Every direction of every layer, in the order of the states."""
        for layer in range(self.num_layers):
            for direction in range(self.directions):
                yield Place(layer, direction)

    def row(self, place: Place) -> int:
        """Its row in the states."""
        return place.layer * self.directions + place.direction

    def input_size_of(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.directions * self.hidden_size

    def multiply_adds(self) -> int:
        """Of one step of one sequence: what the choice of a number of threads goes by."""
        inputs = sum(self.input_size_of(place.layer) + self.hidden_size for place in self.places())
        return inputs * self.gates * self.hidden_size

    @cached_property
    def shapes(self) -> Shapes:
        """Name -> shape of every parameter."""
        check_tensors(2 * self.directions * self.num_layers)
        rows, H = self.gates * self.hidden_size, self.hidden_size
        shapes: Shapes = {}
        for place in self.places():
            shapes[f"weight_ih_{place.suffix}"] = (rows, self.input_size_of(place.layer))
            shapes[f"weight_hh_{place.suffix}"] = (rows, H)
            if self.bias == "double":
                shapes[f"bias_ih_{place.suffix}"] = (rows,)
                shapes[f"bias_hh_{place.suffix}"] = (rows,)
            elif self.bias == "single":
                shapes[f"bias_{place.suffix}"] = (rows,)
                if self.recurrent_candidate_bias:
                    shapes[f"bias_hn_{place.suffix}"] = (H,)
        return shapes

    def kernel_arrays(self, arrays: Mapping[str, Array], place: Place) -> tuple[Array, Array, Array, Array]:
        """W_ih (G*H,I), W_hh (G*H,H), b_ih and b_hh (G*H); zeros where there is no such bias."""
        W_ih, W_hh = arrays[f"weight_ih_{place.suffix}"], arrays[f"weight_hh_{place.suffix}"]
        b_ih = b_hh = np.zeros(W_hh.shape[0], W_hh.dtype)
        if self.bias == "double":
            b_ih, b_hh = arrays[f"bias_ih_{place.suffix}"], arrays[f"bias_hh_{place.suffix}"]
        elif self.bias == "single":
            b_ih = arrays[f"bias_{place.suffix}"]
            if self.recurrent_candidate_bias:
                b_hh = np.concatenate([b_hh[: -self.hidden_size], arrays[f"bias_hn_{place.suffix}"]])
        return W_ih, W_hh, b_ih, b_hh

    def gradient_arrays(self, arrays: Mapping[str, Array], place: Place) -> tuple[Array, Array, Array, Array]:
        """The same four to write gradients into: views where the parameter exists, else fresh arrays."""
        W_ih, W_hh = arrays[f"weight_ih_{place.suffix}"], arrays[f"weight_hh_{place.suffix}"]
        b_ih, b_hh = (np.empty(W_hh.shape[0], W_hh.dtype) for _ in range(2))
        if self.bias == "double":
            b_ih, b_hh = arrays[f"bias_ih_{place.suffix}"], arrays[f"bias_hh_{place.suffix}"]
        elif self.bias == "single":
            b_ih = arrays[f"bias_{place.suffix}"]
        return W_ih, W_hh, b_ih, b_hh

    def finish_gradients(self, arrays: Mapping[str, Array], place: Place, b_hh: Array) -> None:
        """Take from the gradient of b_hh what a single bias keeps of it."""
        if self.bias == "single" and self.recurrent_candidate_bias:
            arrays[f"bias_hn_{place.suffix}"][...] = b_hh[-self.hidden_size :]


class Initialization(NamedTuple):
    """Arguments of an initialiser beyond the random generator."""

    arrays: Mapping[str, Array]
    layout: Layout
    forget_gate: int | None  # its place among the gates; None where there is none


def initialize_pytorch(rng: np.random.Generator, init: Initialization) -> None:
    """Everything uniform in +-1/sqrt(hidden_size), as torch.nn.RNNBase does."""
    bound = 1.0 / np.sqrt(init.layout.hidden_size)
    for array in init.arrays.values():
        array[...] = rng.uniform(-bound, bound, array.shape)


def initialize_keras(rng: np.random.Generator, init: Initialization) -> None:
    """W_ih Glorot uniform (Glorot and Bengio 2010), W_hh orthogonal (Saxe et al. 2014), biases zero but for a forget
    gate's, which is one (Jozefowicz et al. 2015): the defaults of Keras."""
    H = init.layout.hidden_size
    for place in init.layout.places():
        W_ih, W_hh = (init.arrays[f"weight_{kind}_{place.suffix}"] for kind in ("ih", "hh"))
        bound = np.sqrt(6.0 / (W_ih.shape[0] + W_ih.shape[1]))
        W_ih[...] = rng.uniform(-bound, bound, W_ih.shape)
        W_hh[...] = orthogonal(rng, *W_hh.shape)
        biases = [array for name, array in init.arrays.items() if name.startswith("bias") and _is_of(name, place)]
        for array in biases:
            array[...] = 0
        if biases and init.forget_gate is not None:
            biases[0][init.forget_gate * H : (init.forget_gate + 1) * H] = 1


def _is_of(name: str, place: Place) -> bool:
    return name.endswith("_" + place.suffix)


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A random matrix with orthonormal columns (rows >= columns), uniform over all of them (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    signed: Array = q * np.sign(np.diagonal(r))
    return signed


INITIALIZERS: dict[str, Any] = {"pytorch": initialize_pytorch, "keras": initialize_keras}
