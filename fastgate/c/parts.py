"""The other layers of a model in C: each a function from its input to its output."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate.c.literals import literal
from fastgate.c.pieces import Part, Program

# Of one entry x[j], or of all of them; `f` ends the names of math.h and the literals of float.
ENTRIES = {
    "relu": "x[j] < 0 ? 0 : x[j]",
    "leaky_relu": "x[j] < 0 ? x[j] * 0.01{f} : x[j]",
    "elu": "x[j] < 0 ? expm1{f}(x[j]) : x[j]",
    "gelu": "x[j] * (0.5{f} * erfc{f}(x[j] * -0.70710678118654752{f}))",
    "silu": "x[j] < 0 ? x[j] * exp{f}(x[j]) / (1 + exp{f}(x[j])) : x[j] / (1 + exp{f}(-x[j]))",
    "softplus": "(x[j] < 0 ? 0 : x[j]) + log1p{f}(exp{f}(-fabs{f}(x[j])))",
    "sigmoid": "(x[j] < 0 ? exp{f}(x[j]) : 1) / (1 + exp{f}(-fabs{f}(x[j])))",
    "tanh": "tanh{f}(x[j])",
}
ROWS = {
    "softmax": ("y[j] = exp{f}(x[j] - largest);", "y[j] /= sum;"),
    "log_softmax": ("y[j] = x[j] - largest;", "y[j] -= log{f}(sum);"),
}


class OtherPart(Part):
    """A layer without states."""

    def __init__(self, program: Program, layer: Any, name: str, features: int) -> None:
        super().__init__(program, layer, name)
        self.features = features
        self.f = "f" if self.real == "float" else ""
        self._write()

    def calls(self, x: str, y: str) -> list[str]:
        return [f"{self.name}({x}, {y});"]

    def _write(self) -> None:
        raise NotImplementedError

    def _define(self, **sizes: int) -> None:
        for name, size in sizes.items():
            self.program.define(f"{name}_{self.upper}", size)

    def _function(self, lines: list[str]) -> None:
        head = f"static void {self.name}(const {self.real} *x, {self.real} *y)"
        self.program.function(repr(self.layer), head, lines)


class LinearPart(OtherPart):
    def _write(self) -> None:
        arrays, (N, K) = self.layer.params._snapshot.arrays, (self.layer.out_features, self.layer.in_features)
        self.outputs = N
        self._define(INPUTS=K, OUTPUTS=N)
        inputs, outputs, W = f"INPUTS_{self.upper}", f"OUTPUTS_{self.upper}", f"W_{self.name}"
        self.program.constant(W, np.ascontiguousarray(arrays["weight"].T), f"[{inputs}][{outputs}]")
        self.program.constant(f"bias_{self.name}", arrays.get("bias", np.zeros(N, self.layer.dtype)))
        copy = f"memcpy(y, bias_{self.name}, {outputs} * sizeof *y);"
        self._function([copy, self.program.accumulate(outputs, inputs, W, "x", "y")])


class LayerNormPart(OtherPart):
    def _write(self) -> None:
        arrays, f, real = self.layer.params._snapshot.arrays, self.f, self.real
        self.outputs = self.layer.features
        self._define(FEATURES=self.outputs)
        for kind in ("weight", "bias"):
            self.program.constant(f"{kind}_{self.name}", arrays[kind])
        each = f"for (int j = 0; j < FEATURES_{self.upper}; j++)"
        eps = literal(self.layer.eps, self.layer.dtype)
        scaled = f"(x[j] - mean) * scale * weight_{self.name}[j] + bias_{self.name}[j]"
        lines = [f"{real} mean = 0, variance = 0, scale;", "", each, "    mean += x[j];"]
        lines += [f"mean /= FEATURES_{self.upper};", each, "    variance += (x[j] - mean) * (x[j] - mean);"]
        lines += [f"variance /= FEATURES_{self.upper};", f"scale = 1 / sqrt{f}(variance + {eps});"]
        self._function([*lines, each, f"    y[j] = {scaled};"])


class ActivationPart(OtherPart):
    def _write(self) -> None:
        self.outputs, function = self.features, self.layer.function
        self._define(FEATURES=self.outputs)
        each = f"for (int j = 0; j < FEATURES_{self.upper}; j++)"
        if function in ENTRIES:
            self._function([each, f"    y[j] = {ENTRIES[function].format(f=self.f)};"])
            return
        first, last = (line.format(f=self.f) for line in ROWS[function])
        summand = "y[j]" if function == "softmax" else f"exp{self.f}(y[j])"
        lines = [f"{self.real} largest = x[0], sum = 0;", "", each, "    largest = x[j] > largest ? x[j] : largest;"]
        lines += [f"{each} {{", f"    {first}", f"    sum += {summand};", "}", each, f"    {last}"]
        self._function(lines)


class EmbeddingPart(OtherPart):
    def _write(self) -> None:
        self.outputs = self.layer.embedding_dim
        self._define(ROWS=self.layer.num_embeddings, FEATURES=self.outputs)
        shape = f"[ROWS_{self.upper}][FEATURES_{self.upper}]"
        weight = self.layer.params._snapshot.arrays["weight"]
        self.program.constant(f"weight_{self.name}", weight.reshape(-1), shape)

    def row(self, number: str) -> str:
        return f"weight_{self.name} + (size_t){number} * FEATURES_{self.upper}"


KINDS = {"Linear": LinearPart, "LayerNorm": LayerNormPart, "Activation": ActivationPart, "Embedding": EmbeddingPart}
