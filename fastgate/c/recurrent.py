"""Recurrent layers in C: a function for each layer of a stack, which advances its states by one time step.

As in the kernels, what enters the activations of all units (`a`) lies gate behind gate; each sum is one chain in the
order of its inputs, and the bias is added last, so that the bits are theirs. Weights are transposed: W[k] are those
that multiply input k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate._params import on_host
from fastgate._weights import Place
from fastgate.c.expressions import source_of
from fastgate.c.pieces import Part, Program


class RecurrentPart(Part):
    """LSTM, GRU or RNN."""

    def __init__(self, program: Program, layer: Any, name: str) -> None:
        layer = layer.to("cpu")
        super().__init__(program, layer, name)
        self.size, self.units = layer._layout.output_size, layer.hidden_size
        self.outputs = self.size
        self.states = {"h": (layer.num_layers, self.size)}
        if layer._cell.has_memory:
            self.states["c"] = layer.num_layers, self.units
        self.U = f"UNITS_{self.upper}"
        self.P = f"PROJECTED_{self.upper}" if layer._layout.is_projected else self.U  # of h
        self.I = f"INPUTS_{self.upper}"
        program.define(self.I, layer.input_size)
        program.define(self.U, self.units)
        program.define(self.P, self.size)
        for depth in range(layer.num_layers):
            self._write(depth)

    @property
    def result(self) -> str:
        return f"state->h_{self.name}[{self.layer.num_layers - 1}]"

    def calls(self, x: str) -> list[str]:
        found = []
        for depth in range(self.layer.num_layers):
            own = ", ".join(f"state->{kind}_{self.name}[{depth}]" for kind in self.states)
            found.append(f"{self.name}_l{depth}({x}, {own});")
            x = f"state->h_{self.name}[{depth}]"
        return found

    def _write(self, depth: int) -> None:
        layer, place = self.layer, Place(depth, 0)
        arrays = on_host(layer.params)
        self.tag = f"{self.name}_l{depth}"
        self.inputs = self.P if depth else self.I
        own = layer._layout.kernel_arrays(arrays, place)
        extras = layer._layout.kernel_extras(arrays, place)
        kind = layer._cell_options["kind"]
        write: Any = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}.get(kind, self._gru_reset_before)
        body = write(*own, extras)
        arguments = ", ".join(f"{self.real} *{kind}" for kind in self.states)
        what = f"Layer {depth} of {layer!r}" if layer.num_layers > 1 else repr(layer)
        self.program.function(
            f"{what}: one time step.", f"static void {self.tag}(const {self.real} *x, {arguments})", body
        )

    def _begin(self, W_ih: Array, b: Array, names: Sequence[str]) -> list[str]:
        """`a`, named after what it holds for each unit, with the bias and the input's product."""
        self.rows = {name: row for row, name in enumerate(names)}
        self.program.constant(f"bias_{self.tag}", b)
        lines = [f"{self.real} a[{len(names)} * {self.U}]; /* {', '.join(names)} */", ""]
        return [*lines, f"memcpy(a, bias_{self.tag}, sizeof a);", self._product("W_ih", W_ih, self.inputs, "x", "a")]

    def _product(self, kind: str, W: Array, depth: str, operand: str, out: str) -> str:
        """out += operand W"""
        name, gates = f"{kind}_{self.tag}", W.shape[0] // self.units
        columns = self.P if kind == "W_hr" else self.U if gates == 1 else f"{gates} * {self.U}"
        self.program.constant(name, np.ascontiguousarray(W.T), f"[{depth}][{columns}]")
        return self.program.accumulate(columns, depth, name, operand, out)

    def _cell(self, phase: int, results: Sequence[str], targets: Sequence[str], **known: str) -> list[str]:
        """The equation for every unit: what it calls a_i, p_i, h_prev, ... is taken from where that lies."""
        equation = self.layer._cell.equations[phase]
        source = source_of(equation)
        names = [result.id for result in source.results]  # type: ignore[attr-defined]
        called = self.program.functions.name_of(equation, [names.index(result) for result in results])
        known = {**self._known(), **known}
        arguments = [known[argument] for argument in source.arguments]
        if len(results) == 1:
            call = f"{targets[0]} = {called}({', '.join(arguments)});"
        else:
            call = f"{called}({', '.join([*arguments, *(f'&{target}' for target in targets)])});"
        return [f"for (int u = 0; u < {self.U}; u++)", f"    {call}"]

    def _known(self) -> dict[str, str]:
        known = {"h_prev": "h[u]", "c_prev": "c[u]"}
        for name, row in self.rows.items():
            known[name] = f"a[{row} * {self.U} + u]" if row else "a[u]"
        return known

    def _lstm(self, W_ih: Array, W_hh: Array, b_ih: Array, b_hh: Array, extras: Any) -> list[str]:
        peepholes = {}
        if extras.peepholes is not None:
            for gate, values in zip(self.layer._layout.peepholes, extras.peepholes, strict=True):
                peepholes[f"p_{gate}"] = f"peephole_{gate}_{self.tag}[u]"
                self.program.constant(f"peephole_{gate}_{self.tag}", values)
        lines = self._begin(W_ih, b_ih + b_hh, [f"a_{gate}" for gate in self.layer._gates])
        lines.append(self._product("W_hh", W_hh, self.P, "h", "a"))
        if extras.W_hr is None:
            return [*lines, *self._cell(0, ["h", "c"], ["h[u]", "c[u]"], **peepholes)]
        lines.insert(1, f"{self.real} m[{self.U}]; /* what is projected */")
        lines += self._cell(0, ["h", "c"], ["m[u]", "c[u]"], **peepholes)
        clear = f"memset(h, 0, {self.P} * sizeof *h);"
        return [*lines, clear, self._product("W_hr", extras.W_hr, self.U, "m", "h")]

    def _gru(self, W_ih: Array, W_hh: Array, b_ih: Array, b_hh: Array, extras: Any) -> list[str]:
        H = self.units
        both = b_ih[: 2 * H] + b_hh[: 2 * H]
        b = np.concatenate([b_ih[2 * H :], both, b_hh[2 * H :]])
        lines = self._begin(np.roll(W_ih, H, axis=0), b, ["a_n", "a_r", "a_z", "q"])
        lines.append(self._product("W_hh", W_hh, self.U, "h", f"a + {self.U}"))
        return [*lines, *self._cell(0, ["h"], ["h[u]"])]

    def _gru_reset_before(self, W_ih: Array, W_hh: Array, b_ih: Array, b_hh: Array, extras: Any) -> list[str]:
        H, own = self.units, f"[{self.U}]"
        lines = self._begin(np.roll(W_ih, H, axis=0), np.roll(b_ih, H), ["a_n", "a_r", "a_z"])
        lines.insert(1, f"{self.real} z{own}, h_reset{own};")
        lines.append(self._product("W_hh", W_hh[: 2 * H], self.U, "h", f"a + {self.U}"))
        lines += self._cell(0, ["z", "h_reset"], ["z[u]", "h_reset[u]"])
        lines.append(self._product("W_hn", W_hh[2 * H :], self.U, "h_reset", "a"))
        carried = "h_reset[u]" if self.layer.reset_carry else "h[u]"
        return [*lines, *self._cell(1, ["h"], ["h[u]"], z="z[u]", h_carried=carried)]

    def _rnn(self, W_ih: Array, W_hh: Array, b_ih: Array, b_hh: Array, extras: Any) -> list[str]:
        lines = self._begin(W_ih, b_ih + b_hh, ["a"])
        lines.append(self._product("W_hh", W_hh, self.P, "h", "a"))
        return [*lines, *self._cell(0, ["h"], ["h[u]"])]
