"""A recurrence to compute on some machine, the arrays that kernels take, and what the CPU's layers say it gives."""

from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

import fastgate as fg
from fastgate.kernels.cuda.blocks import grid_of
from fastgate.kernels.cuda.cells import cell

LAYERS = {
    "lstm": fg.LSTM,
    "lstm_peepholes": partial(fg.LSTM, peepholes=True),
    "lstm_coupled": partial(fg.LSTM, coupled=True),
    "lstm_coupled_peepholes": partial(fg.LSTM, coupled=True, peepholes=True),
    "gru": fg.GRU,
    "gru_reset_before": partial(fg.GRU, reset_after=False),
    "gru_reset_carry": partial(fg.GRU, reset_after=False, reset_carry=True),
    "rnn_tanh": fg.RNN,
    "rnn_relu": partial(fg.RNN, nonlinearity="relu"),
}


def unwritten(shape, dtype):
    """What `exchange.UNSET` means."""
    return np.full(shape, -1, f"i{np.dtype(dtype).itemsize}").view(dtype)


class Sizes(NamedTuple):
    T: int = 3
    B: int = 5
    H: int = 16
    I: int = 3
    D: int = 1


class Truth(NamedTuple):
    y: Any
    last: Any
    dx: Any
    first: Any  # gradients of the first states
    params: Any  # gradients


class Recurrence:
    """Random weights, inputs and gradients; results of a float64 layer on the CPU as the truth."""

    def __init__(self, name, sizes, *, lengths=None, reverse=0, dtype="float32", seed=0):
        self.name, self.sizes, self.dtype, self.reverse = name, sizes, dtype, reverse
        self.cell = cell(name, dtype)
        T, B, H, I, D = sizes
        self.layer = LAYERS[name](I, H, bidirectional=D == 2, dtype="float64", batch_first=False, seed=seed)
        self.first_bias = "bias" if self.cell.reset else "bias_ih"
        rng = np.random.default_rng(seed)
        # Inputs of this dtype, so that only the arithmetic differs.
        self.x, self.dy = (rng.standard_normal(shape).astype(dtype) for shape in ((T, B, I), (T, B, D * H)))
        self.start, self.dlast = (rng.standard_normal((2, D, B, H)).astype(dtype) * 0.5 for _ in range(2))
        with self.layer.params.edit() as params:
            for values in params.values():
                values[:] = (1.5 * values).astype(dtype)
        self.lengths = np.array([T] * B if lengths is None else lengths, np.int32)

    @cached_property
    def truth(self):
        """y, the last states, and gradients; dx and y by time."""
        T, _, _, _, D = self.sizes
        flip = slice(None, None, -1) if self.reverse and D == 1 else slice(None)
        lengths = None if (self.lengths == T).all() else self.lengths
        assert lengths is None or flip == slice(None)
        start, end = (self._states(pair.astype("float64")) for pair in (self.start, self.dlast))
        y, last, tape = self.layer.forward(self.x[flip], start, lengths=lengths)
        grads = self.layer.backward(tape, self.dy[flip].astype("float64"), end)
        first = grads.state if self.cell.memory else (grads.state,)
        return Truth(y[flip], last if self.cell.memory else (last,), grads.x[flip], first, grads.params)

    def _states(self, pair):
        return tuple(pair) if self.cell.memory else pair[0]

    def weights(self, d):
        """W_ih, W_hh as (H,G,.), and biases (H,G): those of the input, of the product."""
        H, G = self.sizes.H, self.cell.gates
        suffix = "_l0" + "_reverse" * d
        params = self.layer.params

        def by_unit(name):
            if name + suffix not in params:
                return np.zeros((H, G))
            return np.moveaxis(np.array(params[name + suffix]).reshape(G, H, -1), 0, 1).squeeze()

        W_ih, W_hh, b_ih, b_hh = map(by_unit, ("weight_ih", "weight_hh", self.first_bias, "bias_hh"))
        return W_ih.reshape(H, G, -1), W_hh.reshape(H, G, H), b_ih.reshape(H, G), b_hh.reshape(H, G)

    def peepholes(self, d):
        """Their names, in the order of the gates."""
        return [name for name in self.layer.params if name.startswith("peephole") and ("reverse" in name) == bool(d)]

    def run_forward(self, make, block, machine, *, parts=1, keeps=True, **options):
        """Launch what `make` makes on `machine`, a function of (program, grid, arguments)."""
        T, B, H, _, D = self.sizes
        G, S, dtype = self.cell.gates, self.cell.saved, self.dtype
        xw, W, own = np.empty((D, T, B, H, G)), np.empty((D, H, G, H)), np.zeros((D, H, self.cell.own))
        for d in range(D):
            W_ih, W[d], b_ih, b_hh = self.weights(d)
            if self.name == "gru":
                own[d, :, 0], b_hh[:, 2] = b_hh[:, 2], 0
            for p, name in enumerate(self.peepholes(d)):
                own[d, :, p] = self.layer.params[name]
            xw[d] = np.einsum("tbi,ugi->tbug", self.x.astype("float64"), W_ih) + b_ih + b_hh
        self.W, self.own = W.astype(dtype), own.astype(dtype)
        self.h = unwritten((D, T + 1, B, H), dtype)
        self.h[:, 0] = self.start[0]
        self.c = unwritten((D, T + 1 if keeps else 1, B, H), dtype)
        self.c[:, 0] = self.start[1]
        self.saved = np.full((D, T, B, H, max(S, 1)), np.nan, dtype)
        self.operand = unwritten((D, T, B, H), dtype)
        self.found_y = np.full((B, T, D * H + 1), np.nan, dtype)
        error = np.zeros(1, np.int32)
        program = make(self.cell, H, block, dtype=dtype, keeps=keeps, **options)
        arrays = (xw.astype(dtype), self.W, self.own, self.lengths, self.h, self.c, self.operand, self.saved)
        y_t, y_b, y_at = D * H + 1, T * (D * H + 1), 1
        rest = (self.found_y, y_t, y_b, y_at, error, self.reverse, T, B)
        machine(program, grid_of(H, B, block, parts, D), (*arrays, *rest))
        return error[0]

    def run_backward(self, make, block, machine, *, parts=1, **options):
        T, B, H, _, D = self.sizes
        self.da = unwritten((D, T, B, H, self.cell.gradients), self.dtype)
        self.dh, self.dc = self.dlast.copy()
        dy = np.full((B, T, D * H), np.nan, self.dtype)
        dy[:] = np.moveaxis(self.dy, 0, 1)
        dy[np.arange(T) >= self.lengths[:, None]] = np.nan
        error = np.zeros(1, np.int32)
        program = make(self.cell, H, block, dtype=self.dtype, **options)
        arrays = (self.lengths, self.h, self.c, self.saved, self.da, self.dh, self.dc, error)
        of_dy = dy, D * H, T * D * H, 0
        W_T = np.ascontiguousarray(np.moveaxis(self.W, 3, 1))
        machine(program, grid_of(H, B, block, parts, D), (W_T, self.own, *of_dy, *arrays, self.reverse, T, B))
        return error[0]

    def forward_errors(self):
        """Of y, h and c: largest difference from the truth, whose values are near 1."""
        found = [(self.found_y[..., 1:], np.moveaxis(self.truth.y, 0, 1)), (self.h[:, -1], self.truth.last[0])]
        if self.cell.memory:
            found.append((self.c[:, -1], self.truth.last[1]))
        return [float(np.max(np.abs(a - b))) for a, b in found]

    def backward_errors(self):
        """Of dx, dW_ih, dW_hh, db and the first states' gradients: relative to the largest entry."""
        T, B, H, I, D = self.sizes
        dx = np.zeros((T, B, I))
        pairs = [(self.dh, self.truth.first[0])]
        if self.cell.memory:
            pairs.append((self.dc, self.truth.first[1]))
        for d in range(D):
            W_ih, *_ = self.weights(d)
            order = slice(None, None, -1) if self.reverse >> d & 1 else slice(None)
            da = self.da[d].astype("float64")
            by_time = da[order, ..., : self.cell.gates]
            dx += np.einsum("tbug,ugi->tbi", by_time, W_ih)
            operand = np.broadcast_to(self.h[d, :-1, :, None], (T, B, self.cell.gates, H)).copy()
            if self.cell.reset:
                operand[:, :, 2] = self.saved[d, ..., 0] * self.h[d, :-1]
            of_u = da[..., list(self.cell.recurrent)]
            suffix = "_l0" + "_reverse" * d
            found = {
                "weight_ih": np.einsum("tbug,tbi->gui", by_time, self.x.astype("float64")),
                "weight_hh": np.einsum("tbug,tbgk->guk", of_u, operand),
                self.first_bias: by_time.sum((0, 1)).T,
                "bias_hh": of_u.sum((0, 1)).T,
            }
            for gate, name in zip(self.cell.peepholes, self.peepholes(d), strict=True):
                c = self.c[d, 1:] if gate == self.cell.peepholes[-1] else self.c[d, :-1]
                pairs.append(((da[..., gate] * c).sum((0, 1)), self.truth.params[name]))
            for name, values in found.items():
                if name + suffix in self.truth.params:
                    truth = self.truth.params[name + suffix]
                    pairs.append((values.reshape(truth.shape), truth))
        pairs.append((dx, self.truth.dx))
        return [float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs]
