"""Cells for somebody else's compiled loop: what they are, where their numbers lie, and the tuples that hold them.

A cell is a NamedTuple whose class knows all sizes, so that they are constants of the code that is compiled for it. The
class is named after them and after the hash of all kernel sources: compiled code that was kept on disk, a user's too,
is for arguments of a class that a changed source no longer makes, and is compiled anew.

Of a layer `packed` holds block after block of `lanes` units: the starts of their sums (C,lanes), W_ih (I,G,lanes), and
W_hh (H,G,lanes). `params` holds the parameters as the layer has them, and some zeros behind.
"""

import os
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from fastgate.kernels.cpu.features import REGISTERS, VECTOR_BYTES
from fastgate.kernels.jit import SOURCE_HASH

# Gates as numbered in PyTorch; sums that begin the pre-activations; what a tape keeps of a step beside its states.
GATES = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "gru_reset_carry": 3, "rnn_tanh": 1, "rnn_relu": 1}
STARTS = {"lstm": 4, "gru": 4, "gru_reset_before": 3, "gru_reset_carry": 3, "rnn_tanh": 1, "rnn_relu": 1}
KEPT = {"lstm": 4, "gru": 4, "gru_reset_before": 4, "gru_reset_carry": 4, "rnn_tanh": 1, "rnn_relu": 1}
ALIGNMENT, FIRST_CACHE = 64, 3 * 2**14  # bytes
LEAST_LANES = 4


class State(NamedTuple):
    """Of one run of a batch: h and c are views of `scratch`, which is all that compiled code reads and writes."""

    h: np.ndarray  # (L,B,H)
    c: np.ndarray  # (L,B,H), or (L,B,0) where a cell has none
    scratch: np.ndarray  # (n)

    def __reduce__(self):
        """Pickled or copied deeply, h and c are views again."""
        places = [(part.ctypes.data - self.scratch.ctypes.data, part.shape, part.strides) for part in self[:2]]
        return _state_of, (self.scratch, *places)


def _state_of(scratch, *places):
    h, c = (np.ndarray(shape, scratch.dtype, scratch, at, strides) for at, shape, strides in places)
    return State(h, c, scratch)


class Tape(NamedTuple):
    """What `steps` steps leave for their way back."""

    records: np.ndarray  # (steps,n)
    scratch: np.ndarray  # (n)


class Spec(NamedTuple):
    """Everything that the code of a cell depends on."""

    kind: str
    dtype: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: str  # "double", "single" or "none"; a linear cell has "single" or "none"
    checked: bool


class Plan:
    """Where the numbers of a recurrent cell lie; all offsets are in elements."""

    def __init__(self, spec):
        self.spec, self.kind = spec, spec.kind
        self.H, self.L, self.G, self.starts = spec.hidden_size, spec.num_layers, GATES[spec.kind], STARTS[spec.kind]
        self.lanes = lanes_for(self.H, np.dtype(spec.dtype).itemsize)
        self.blocks = -(-self.H // self.lanes)
        self.Hp = self.blocks * self.lanes
        self.has_memory = spec.kind == "lstm"
        self.rows = 4 if REGISTERS == 32 else 2  # at a time, of a batch
        self.states = 1 + self.has_memory
        # h and c of all layers, then rows of h to come, and two more that cells of two phases need.
        self.state_rows = self.L * self.states + 3
        self.kept = KEPT[spec.kind]

    @property
    def is_small(self):
        """Whether weights stay in a first-level cache: then a step is so short that a call would show."""
        return self.packed_at(self.L) * np.dtype(self.spec.dtype).itemsize < FIRST_CACHE

    def depth(self, layer):
        """How many inputs a layer has."""
        return self.spec.input_size if layer == 0 else self.H

    def block_size(self, layer):
        return (self.starts + (self.depth(layer) + self.H) * self.G) * self.lanes

    def packed_at(self, layer):
        return self.blocks * sum(self.block_size(before) for before in range(layer))

    # A record of a row: x, h and c before, gates, c after. Each begins with whole vectors of room.
    def record_size(self, layer):
        return self.x_room(layer) + (3 + self.kept) * self.Hp

    def x_room(self, layer):
        return -(-self.depth(layer) // self.lanes) * self.lanes

    def record_at(self, layer):
        """To be multiplied by the number of rows."""
        return sum(self.record_size(before) for before in range(layer))

    @cached_property
    def backward_rows(self):
        """Scratch elements of a row on its way back: four groups of da, and dx."""
        return 4 * self.Hp + max(self.x_room(layer) for layer in range(self.L))

    @cached_property
    def offsets(self):
        """Of each layer: where its W_ih, W_hh and biases begin in the parameters; -1 for none. Then their number."""
        found, at = [], 0
        rows = self.G * self.H
        for layer in range(self.L):
            W_ih, at = at, at + rows * self.depth(layer)
            W_hh, at = at, at + rows * self.H
            b_ih = b_hh = b_hn = -1
            if self.spec.bias == "double":
                b_ih, b_hh, at = at, at + rows, at + 2 * rows
            elif self.spec.bias == "single":
                b_ih, at = at, at + rows
                if self.kind == "gru":
                    b_hn, at = at, at + self.H
            found.append((W_ih, W_hh, b_ih, b_hh, b_hn))
        return found, at


def lanes_for(size, itemsize):
    """The widest vector that `size` units fill, or fit in."""
    lanes = VECTOR_BYTES // itemsize
    while lanes > LEAST_LANES and lanes >= 2 * size:
        lanes //= 2
    return lanes


plan_of = cache(Plan)

# ------------------------------------------------------------------------------------------------- classes of cells

CHECKED = os.environ.get("FASTGATE_CHECK", "0") not in ("", "0")


@cache
def cell_class(spec):
    """The class of all cells of this kind and these sizes."""
    kind, dtype, *sizes, bias, checked = spec
    mode = "checked" if checked else "fast"
    return _made("__".join(["Cell", kind, dtype, *map(str, sizes), bias, mode, SOURCE_HASH]), spec)


def _made(name, own_spec):
    class Cell(NamedTuple):
        """A snapshot of a layer's weights, to be handed to the functions of `fastgate.jit`."""

        packed: np.ndarray  # (n)
        params: np.ndarray  # (P) and room

    Cell.__name__ = Cell.__qualname__ = name
    Cell.spec = own_spec
    return Cell


def __getattr__(name):
    """Classes by name, for whatever was pickled: those of today's sources, and others that equal none of today's.

    So this module must keep its name, or users' caches could not be read.
    """
    prefix, *parts = name.split("__")
    if prefix != "Cell" or len(parts) < 2:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    if parts[-1] != SOURCE_HASH:
        return _outdated(name)
    kind, dtype, *sizes, bias, mode, _ = parts
    return cell_class(Spec(kind, dtype, *map(int, sizes), bias, mode == "checked"))


@cache
def _outdated(name):
    return _made(name, None)


# --------------------------------------------------------------------------------------------------------- packing


def aligned(size, dtype):
    """Zeros that begin on a cache line, whatever their size."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGNMENT // itemsize, dtype)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT // itemsize
    return raw[start : start + size]


def recurrent_cell(spec, layers, flat):
    """layers of W_ih (G*H,I), W_hh (G*H,H), b_ih, b_hh (G*H)  flat (P), all of them -> cell"""
    plan = plan_of(spec)
    assert flat.size == plan.offsets[1]
    packed = aligned(plan.packed_at(plan.L), spec.dtype)
    for layer, arrays in enumerate(layers):
        at = plan.packed_at(layer)
        part = packed[at : at + plan.blocks * plan.block_size(layer)].reshape(plan.blocks, -1, plan.lanes)
        _pack(plan, *arrays, part)
    return cell_class(spec)(packed, _with_room(flat, spec))


def _pack(plan, W_ih, W_hh, b_ih, b_hh, part):
    """W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (G*H) -> part (N,C+(I+H)*G,lanes), which holds zeros"""
    I, H, G, C = W_ih.shape[1], plan.H, plan.G, plan.starts
    starts = list((b_ih + b_hh).reshape(G, H)) if not plan.kind.startswith("gru_reset") else list(b_ih.reshape(G, H))
    if plan.kind == "gru":
        starts[2:] = b_ih[2 * H :], b_hh[2 * H :]
    for block in range(plan.blocks):
        own = slice(block * plan.lanes, min((block + 1) * plan.lanes, H))
        count = own.stop - own.start
        for column, start in enumerate(starts):
            part[block, column, :count] = start[own]
        inputs, recurrent = (W.reshape(G, H, -1)[:, own].transpose(2, 0, 1) for W in (W_ih, W_hh))
        part[block, C : C + I * G].reshape(I, G, -1)[:, :, :count] = inputs
        if plan.kind.startswith("gru_reset"):  # the candidate's product comes after that of the other two
            part[block, C + I * G : C + I * G + 2 * H].reshape(H, 2, -1)[:, :, :count] = recurrent[:, :2]
            part[block, C + I * G + 2 * H :][:, :count] = recurrent[:, 2]
        else:
            part[block, C + I * G :].reshape(H, G, -1)[:, :, :count] = recurrent


class LinearPlan:
    """Where the numbers of a linear cell lie: block after block of outputs, the bias and then the weights (I,lanes)."""

    def __init__(self, spec):
        self.spec, self.I, self.H = spec, spec.input_size, spec.hidden_size
        self.lanes = lanes_for(self.H, np.dtype(spec.dtype).itemsize)
        self.blocks = -(-self.H // self.lanes)
        self.size = self.H * self.I + (self.H if spec.bias == "single" else 0)


linear_plan_of = cache(LinearPlan)


def linear_cell(spec, weight, b, flat):
    """weight (H,I)  b (H)  flat (P), both of them -> cell"""
    plan = linear_plan_of(spec)
    packed = aligned(plan.blocks * (1 + plan.I) * plan.lanes, spec.dtype)
    part = packed.reshape(plan.blocks, 1 + plan.I, plan.lanes)
    for block in range(plan.blocks):
        own = slice(block * plan.lanes, min((block + 1) * plan.lanes, plan.H))
        part[block, 0, : own.stop - own.start] = b[own]
        part[block, 1:, : own.stop - own.start] = weight[own].T
    return cell_class(spec)(packed, _with_room(flat, spec))


def _with_room(flat, spec):
    """A copy with room for a vector behind its end."""
    params = aligned(flat.size + ALIGNMENT // flat.itemsize, spec.dtype)
    params[: flat.size] = flat
    return params
