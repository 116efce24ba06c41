"""ONNX's own node tests of every operator that we compute, as the installed package makes them."""

import warnings

import numpy as np
import pytest

import fastgate as fg

onnx = pytest.importorskip("onnx", reason="onnx is not installed: its node tests are not run")

from onnx.backend.test.loader import load_model_tests  # noqa: E402

from fastgate.exchange.onnx_files import OPERATORS  # noqa: E402
from fastgate.exchange.onnx_nodes import RECURRENT  # noqa: E402

# Of what is refused: types of 16 bits and fewer, text and sequences; dropout in training; the maximum of nothing.
REFUSALS = "a tensor of numbers or bool", "training_mode", "zero-size array", "opset", "version", "one of 1, 2, 3"


def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    known = {*OPERATORS, *RECURRENT}
    own = [case for case in found if case.model and {node.op_type for node in case.model.graph.node} <= known]
    return [case for case in own if len(case.model.graph.node) == 1]


CASES = cases()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", sorted({case.model.graph.node[0].op_type for case in CASES}))
def test_node(operator):
    passed, refused = 0, []
    for case in CASES:
        if case.model.graph.node[0].op_type != operator:
            continue
        if any(isinstance(array, onnx.TensorProto) for inputs, _ in case.data_sets for array in inputs):
            continue  # of types that NumPy does not have
        names = [value.name for value in case.model.graph.input]
        for inputs, outputs in case.data_sets:
            try:
                found = fg.from_onnx(case.model).run(dict(zip(names, inputs, strict=True)))
            except ValueError as error:
                refused.append(f"{case.name}: {error}")
                continue
            passed += 1
            for ours, theirs in zip(found.values(), outputs, strict=True):
                assert ours.dtype == theirs.dtype, case.name
                np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-7, err_msg=case.name)
    assert all(any(words in error for words in REFUSALS) for error in refused)
    assert not (refused and operator in RECURRENT)
    assert passed or operator in ("Cast", "Not", "Range", "ReverseSequence")  # whose tests are of other versions alone


def test_all_of_the_recurrent_ones_are_there():
    names = {case.name for case in CASES if case.model.graph.node[0].op_type in RECURRENT}
    kinds = "defaults", "with_initial_bias", "batchwise"
    assert {f"test_{op}_{kind}" for op in ("lstm", "gru", "simple_rnn") for kind in kinds} <= names
    assert {"test_lstm_with_peepholes", "test_gru_seq_length", "test_rnn_seq_length"} <= names
