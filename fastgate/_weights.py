"""Which parameters a recurrent layer has, under PyTorch's names, and how they become the kernels' four arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastgate._allowance import check_tensors
from fastgate._arrays import Array, empty_beside, zeros_beside
from fastgate._kernels import cpu
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
    `peepholes` are the names of the gates that have one. `output_size`: that of h, H unless there is a projection.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    gates: int
    bias: str
    recurrent_candidate_bias: bool
    peepholes: tuple[str, ...]
    output_size: int

    def places(self) -> Iterator[Place]:
        """Every direction of every layer, in the order of the states."""
        for layer in range(self.num_layers):
            for direction in range(self.directions):
                yield Place(layer, direction)

    def row(self, place: Place) -> int:
        """Its row in the states."""
        return place.layer * self.directions + place.direction

    def input_size_of(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.directions * self.output_size

    def multiply_adds(self) -> int:
        """Of one step of one sequence: what the choice of a number of threads goes by."""
        inputs = sum(self.input_size_of(place.layer) + self.output_size for place in self.places())
        projections = self.num_layers * self.directions * self.output_size if self.is_projected else 0
        return (inputs * self.gates + projections) * self.hidden_size

    @property
    def is_projected(self) -> bool:
        return self.output_size != self.hidden_size

    @cached_property
    def shapes(self) -> Shapes:
        """Name -> shape of every parameter."""
        check_tensors(2 * self.directions * self.num_layers)
        rows, H = self.gates * self.hidden_size, self.hidden_size
        shapes: Shapes = {}
        for place in self.places():
            shapes[f"weight_ih_{place.suffix}"] = (rows, self.input_size_of(place.layer))
            shapes[f"weight_hh_{place.suffix}"] = (rows, self.output_size)
            if self.bias == "double":
                shapes[f"bias_ih_{place.suffix}"] = (rows,)
                shapes[f"bias_hh_{place.suffix}"] = (rows,)
            elif self.bias == "single":
                shapes[f"bias_{place.suffix}"] = (rows,)
                if self.recurrent_candidate_bias:
                    shapes[f"bias_hn_{place.suffix}"] = (H,)
            if self.is_projected:
                shapes[f"weight_hr_{place.suffix}"] = (self.output_size, H)
            shapes |= {f"peephole_{gate}_{place.suffix}": (H,) for gate in self.peepholes}
        return shapes

    def kernel_arrays(self, arrays: Mapping[str, Array], place: Place) -> tuple[Array, Array, Array, Array]:
        """W_ih (G*H,I), W_hh (G*H,output_size), b_ih and b_hh (G*H); zeros where there is no such bias."""
        W_ih, W_hh = arrays[f"weight_ih_{place.suffix}"], arrays[f"weight_hh_{place.suffix}"]
        b_ih = b_hh = zeros_beside(W_hh, (W_hh.shape[0],))
        if self.bias == "double":
            b_ih, b_hh = arrays[f"bias_ih_{place.suffix}"], arrays[f"bias_hh_{place.suffix}"]
        elif self.bias == "single":
            b_ih = arrays[f"bias_{place.suffix}"]
            if self.recurrent_candidate_bias:
                b_hh = b_hh.copy()
                b_hh[-self.hidden_size :] = arrays[f"bias_hn_{place.suffix}"]
        return W_ih, W_hh, b_ih, b_hh

    def kernel_extras(self, arrays: Mapping[str, Array], place: Place) -> Any:
        """What only some cells have: peepholes (K,H), W_hr (output_size,H)."""
        peepholes = None
        if self.peepholes:
            peepholes = empty_beside(arrays[f"weight_hh_{place.suffix}"], (len(self.peepholes), self.hidden_size))
            for row, gate in enumerate(self.peepholes):
                peepholes[row] = arrays[f"peephole_{gate}_{place.suffix}"]
        W_hr = arrays[f"weight_hr_{place.suffix}"] if self.is_projected else None
        return cpu.Extras(peepholes, W_hr)

    @cached_property
    def _spans(self) -> dict[Place, list[tuple[slice | None, tuple[int, int]]]]:
        """Of every place: where the arrays of the kernels lie in a vector of all parameters, None for nowhere, and
        their shapes as matrices.
        """
        ends = np.cumsum([0, *map(prod, self.shapes.values())]).tolist()
        found = {name: slice(*span) for name, span in zip(self.shapes, pairwise(ends), strict=True)}
        rows, H, spans = self.gates * self.hidden_size, self.hidden_size, {}
        b_ih, b_hh = ("bias_", "") if self.bias == "single" else ("bias_ih_", "bias_hh_")
        for place in self.places():
            shapes = {"weight_ih_": (rows, self.input_size_of(place.layer)), "weight_hh_": (rows, self.output_size)}
            shapes |= {b_ih: (1, rows), b_hh: (1, rows), "weight_hr_": (self.output_size, H)}
            spans[place] = [(found.get(name + place.suffix), shape) for name, shape in shapes.items()]
            own = [found[f"peephole_{gate}_{place.suffix}"] for gate in self.peepholes]  # one behind the other
            spans[place].append((slice(own[0].start, own[-1].stop) if own else None, (len(own), H)))
        return spans

    def gradient_arrays(self, flat: Array, place: Place) -> tuple[list[Array], Any]:
        """W_ih (G*H,I), W_hh (G*H,output_size), b_ih and b_hh (1,G*H) to write gradients into, and `kernel_extras`:
        views of `flat` (all parameters) where there is such a parameter, else fresh arrays.
        """
        *spans, W_hr, peepholes = self._spans[place]
        arrays = [empty_beside(flat, shape) if span is None else flat[span].reshape(shape) for span, shape in spans]
        extras = [None if span is None else flat[span].reshape(shape) for span, shape in (peepholes, W_hr)]
        return arrays, cpu.Extras(*extras)

    def finish_gradients(self, flat: Array, place: Place, b_hh: Array) -> None:
        """Take from the gradient of b_hh, of all parameters or (N,P) of each member or sequence, what a single bias
        keeps of it.
        """
        if self.bias == "single" and self.recurrent_candidate_bias:
            last = b_hh.reshape(*flat.shape[:-1], self.gates * self.hidden_size)[..., -self.hidden_size :]
            flat[..., self._span_of_candidate[place]] = last

    @cached_property
    def _span_of_candidate(self) -> dict[Place, slice]:
        """Behind the other bias."""
        ends = {place: self._spans[place][2][0].stop for place in self.places()}  # type: ignore[union-attr]
        return {place: slice(end, end + self.hidden_size) for place, end in ends.items()}

    def sample_arrays(self, flat: Array, place: Place) -> Any:
        """What `per_sample` writes into: of each row of an ndarray (B,P) its `gradient_arrays`. Kernels of a GPU take
        one array (B,...) of each kind for all sequences, which `finish_samples` puts into their columns.
        """
        if isinstance(flat, np.ndarray):
            return [self.gradient_arrays(row, place) for row in flat]
        arrays = [empty_beside(flat, (len(flat), *shape)) for _, shape in self._spans[place]]
        return arrays[:4], cpu.Extras(peepholes=arrays[5], W_hr=arrays[4])

    def finish_samples(self, flat: Array, place: Place, samples: Any) -> None:
        """What is left to do then."""
        if isinstance(flat, np.ndarray):
            for row, (targets, _) in zip(flat, samples, strict=True):
                self.finish_gradients(row, place, targets[3])
            return
        arrays, extras = samples
        self.place_samples(flat, place, [*arrays, extras.W_hr, extras.peepholes])
        self.finish_gradients(flat, place, arrays[3])

    def place_samples(self, flat: Array, place: Place, arrays: Any) -> None:
        """W_ih (N,G*H,I) and so on, in the order of `gradient_arrays` -> flat (N,P)"""
        for (span, _), array in zip(self._spans[place], arrays, strict=False):
            if span is not None:
                flat[:, span] = array.reshape(len(flat), span.stop - span.start)


class Initialization(NamedTuple):
    """Arguments of an initialiser beyond the random generator."""

    arrays: Mapping[str, Array]
    layout: Layout
    forget_gate: int  # its place among the gates; -1 where there is none


def initialize_pytorch(rng: np.random.Generator, init: Initialization) -> None:
    """Everything uniform in +-1/sqrt(hidden_size), as torch.nn.RNNBase does."""
    bound = 1.0 / np.sqrt(init.layout.hidden_size)
    for array in init.arrays.values():
        array[...] = rng.uniform(-bound, bound, array.shape)


def initialize_keras(rng: np.random.Generator, init: Initialization) -> None:
    """W_ih Glorot uniform (Glorot and Bengio 2010), W_hh orthogonal (Saxe et al. 2014), biases zero but for a forget
    gate's, which is one (Jozefowicz et al. 2015): the defaults of Keras. Peepholes zero, W_hr orthogonal."""
    H = init.layout.hidden_size
    for place in init.layout.places():
        W_ih, W_hh = (init.arrays[f"weight_{kind}_{place.suffix}"] for kind in ("ih", "hh"))
        bound = np.sqrt(6.0 / (W_ih.shape[0] + W_ih.shape[1]))
        W_ih[...] = rng.uniform(-bound, bound, W_ih.shape)
        W_hh[...] = orthogonal(rng, *W_hh.shape)
        own = {name: array for name, array in init.arrays.items() if _is_of(name, place)}
        biases = [array for name, array in own.items() if name.startswith("bias")]
        for array in (*biases, *(array for name, array in own.items() if name.startswith("peephole"))):
            array[...] = 0
        for name, W_hr in own.items():
            if name.startswith("weight_hr"):
                W_hr[...] = orthogonal(rng, *W_hr.T.shape).T
        if biases and init.forget_gate >= 0:
            biases[0][init.forget_gate * H : (init.forget_gate + 1) * H] = 1


def _is_of(name: str, place: Place) -> bool:
    return name.endswith("_" + place.suffix)


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A random matrix with orthonormal columns (rows >= columns), uniform over all of them (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    signed: Array = q * np.sign(np.diagonal(r))
    return signed


INITIALIZERS: dict[str, Any] = {"pytorch": initialize_pytorch, "keras": initialize_keras}
