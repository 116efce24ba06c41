"""ONNX Runtime: one recurrent node in a session, inputs and outputs bound to memory of their own."""

from functools import partial
from typing import Any

import numpy as np

from .case import Case, Run, load

BEST = "a session made beforehand; inputs and outputs bound; time first, which its CPU kernels need; sequential"
GATES = {"LSTM": "iofg", "GRU": "zrn", "GRU reset_before": "zrn", "RNN": "n"}


def configure(threads: int) -> None:
    load("onnx")
    load("onnxruntime")


def prepare(case: Case, threads: int) -> Run:
    if case.work == "training_step":
        raise NotImplementedError("onnxruntime: does not train")
    if case.x.dtype != np.float32:
        raise NotImplementedError("onnxruntime: its recurrent layers compute in float32 only")
    keeps_state = case.work == "step"
    session = _session(case, threads, keeps_state)
    x = case.x[None] if keeps_state else np.ascontiguousarray(case.x.swapaxes(0, 1))
    (T, B, _), H, names = x.shape, case.sizes[1], ("h", "c")[: len(case.start())]
    value = load("onnxruntime").OrtValue.ortvalue_from_numpy
    x, y = value(x), value(np.zeros((T, 1, B, H), np.float32))
    states = [[value(part[None]) for part in case.start()] for _ in range(2)]

    def bind(before: list[Any], after: list[Any]) -> Any:
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", y)
        for name, old, new in zip(names, before, after, strict=True):
            if keeps_state:
                binding.bind_ortvalue_input(f"{name}_before", old)
            binding.bind_ortvalue_output(name, new)
        return binding

    even, odd = bind(*states), bind(*states[::-1])  # each goes on from the state that the other has written

    def run() -> Any:
        nonlocal even, odd
        session.run_with_iobinding(even)
        even, odd = odd, even
        return (y,)

    return run


def _session(case: Case, threads: int, keeps_state: bool) -> Any:
    onnx, onnxruntime = load("onnx"), load("onnxruntime")
    helper = onnx.helper
    W, R, W_b, R_b = case.weights(GATES[case.cell])
    weights = {"W": W, "R": R, "B": np.concatenate([W_b, R_b])}
    states = ["h", "c"][: len(case.start())]
    before = [f"{name}_before" for name in states] if keeps_state else []
    options = {"linear_before_reset": int(case.cell == "GRU")} if case.cell.startswith("GRU") else {}
    inputs, outputs = ["x", *weights, "", *before], ["y", *states]
    node = helper.make_node(case.layer, inputs, outputs, hidden_size=case.sizes[1], **options)
    values = partial(helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=None)
    graph = helper.make_graph(
        [node],
        "recurrent",
        [values(name) for name in ["x", *before]],
        [values(name) for name in outputs],
        [onnx.numpy_helper.from_array(array[None], name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
