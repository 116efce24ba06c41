"""From a layer to a cell for `fastgate.jit`: a snapshot of its weights, or why there is none."""

from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._kernels import embedded
from fastgate._weights import Place


def recurrent_cell(layer: Any) -> Any:
    """The cell of a recurrent layer of one direction and the usual options."""
    if layer.bidirectional:
        raise _errors.not_embeddable(layer, "bidirectional=True: it needs the whole sequence before the first step")
    if hasattr(layer, "weights"):
        raise _errors.not_embeddable(layer, f"weights={layer.weights!r}; use the layer that it was made from")
    options = layer._cell_options
    for name in ("projected", "peepholes", "coupled", "clip"):
        if options.get(name):
            given = {"projected": f"proj_size={getattr(layer, 'proj_size', 0)}", "clip": f"clip={layer.clip}"}
            raise _errors.not_embeddable(layer, given.get(name, f"{name}=True"))
    kind = options["kind"]
    if kind == "rnn":
        if layer.nonlinearity not in ("tanh", "relu"):
            raise _errors.not_embeddable(layer, f"nonlinearity={layer.nonlinearity!r}")
        kind = f"rnn_{layer.nonlinearity}"
    elif layer.activations != layer._usual["activations"]:
        raise _errors.not_embeddable(layer, f"activations={layer.activations!r}")
    snapshot, layout = layer.params._snapshot, layer._layout
    sizes = layer.input_size, layer.hidden_size, layer.num_layers
    spec = embedded.Spec(kind, layer.dtype.name, *sizes, layout.bias, embedded.CHECKED)
    arrays = [layout.kernel_arrays(snapshot.arrays, Place(i, 0)) for i in range(layer.num_layers)]
    return embedded.recurrent_cell(spec, arrays, snapshot.flat)


def linear_cell(layer: Any) -> Any:
    """The cell of a Linear."""
    snapshot, bias = layer.params._snapshot, "single" if layer.bias else "none"
    sizes = layer.in_features, layer.out_features, 1
    spec = embedded.Spec("linear", layer.dtype.name, *sizes, bias, embedded.CHECKED)
    b = snapshot.arrays["bias"] if layer.bias else np.zeros(layer.out_features, layer.dtype)
    return embedded.linear_cell(spec, snapshot.arrays["weight"], b, snapshot.flat)
