"""Files run by the libraries that they are made for, where these are installed."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastgate
from fastgate._arrays import Array
from fastgate._recurrent import Recurrent
from fastgate.convert.samples import Run, batch_first, is_batch_first
from fastgate.exchange import pytorch
from fastgate.exchange.tensors import collect

BACKENDS = "tensorflow", "torch", "jax"  # of Keras; its products are of float32 in all but the first


class Unavailable(Exception):
    """Why a library does not run a file that it might."""


class Original(NamedTuple):
    """What computes a file, with the library's name and version."""

    library: str
    run: Run
    sizes: tuple[int | None, ...] = ()  # that the file declares of its input; None for any
    is_single: bool = False  # computes in float32, whatever the dtype


def with_torch(path: Path, layer: Any, options: dict[str, Any]) -> Original:
    """The module that fastgate makes of the layer, with the tensors that PyTorch reads."""
    module = fastgate.to_torch(layer)
    if isinstance(module, dict):
        raise Unavailable("PyTorch is not installed: pip install torch")
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tree = load_file(path)
    else:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    tensors = pytorch.renamed(collect("IN", tree, options.get("part", "")), options.get("names") or {})
    module.load_state_dict({name: torch.from_numpy(own.read()) for name, own in tensors.items()})

    def run(x: Array) -> Array:
        with torch.no_grad():
            y = module(torch.from_numpy(x))
        return np.asarray(y[0] if isinstance(y, tuple) else y)

    return Original(f"PyTorch {torch.__version__}", batch_first(run, layer))


def with_onnxruntime(path: Path, layer: Any, options: dict[str, Any]) -> Original:
    """A session on the CPU."""
    if not find_spec("onnxruntime"):
        raise Unavailable("ONNX Runtime is not installed: pip install onnxruntime")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    library = f"ONNX Runtime {onnxruntime.__version__}"
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, quiet, providers=["CPUExecutionProvider"])
    except errors.NotImplemented as error:
        raise Unavailable(f"{library} does not run it: {error}") from None
    first, *others = session.get_inputs()
    time = 1 if is_batch_first(layer) else 0

    def run(x: Array) -> Array:
        x = x.astype(np.int32) if first.type == "tensor(int32)" else x
        lengths = {own.name: np.full(x.shape[1 - time], x.shape[time], np.int32) for own in others}
        try:
            return np.asarray(session.run(None, {first.name: x, **lengths})[0])
        except errors.RuntimeException as error:
            if "not support" not in str(error):  # as it has no LSTM of float64, nor of layout=1
                raise
            raise Unavailable(f"{library} does not run it: {error}") from None

    sizes = tuple(size if isinstance(size, int) else None for size in first.shape)
    return Original(library, batch_first(run, layer), sizes)


def with_rtneural(path: Path, layer: Any, options: dict[str, Any]) -> Original:
    """Nothing that Python could call."""
    raise Unavailable("RTNeural is a library of C++, and is not run here")


def with_keras(path: Path, layer: Any, options: dict[str, Any]) -> Original:
    """The model of a file; of a file of weights alone, that which fastgate makes of the layer."""
    backend = next(filter(find_spec, BACKENDS), None)
    if not find_spec("keras") or backend is None:
        raise Unavailable(f"Keras is not installed: pip install keras {backend or BACKENDS[0]}")
    os.environ.setdefault("KERAS_BACKEND", backend)
    import keras

    if path.name.endswith(".weights.h5"):
        model = fastgate.Sequential(layer) if isinstance(layer, Recurrent) else layer
        model = getattr(fastgate, "to_keras")(model)  # noqa: B009
        model.load_weights(path)
    else:
        model = keras.models.load_model(path, compile=False, safe_mode=True)

    def run(x: Array) -> Array:
        y = model(x)
        return np.asarray(keras.ops.convert_to_numpy(y[0] if isinstance(y, (tuple, list)) else y))

    declared = getattr(model, "input_shape", ())
    sizes = tuple(declared) if isinstance(declared, tuple) else ()
    return Original(f"Keras {keras.__version__}", run, sizes, keras.config.backend() != BACKENDS[0])
