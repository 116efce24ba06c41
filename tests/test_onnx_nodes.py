"""ONNX's own node tests of the operators that we compute, in the versions of the installed package."""

import warnings

import numpy as np
import pytest

import fastgate as fg
from fastgate.exchange.onnx_files import OPERATORS

onnx = pytest.importorskip("onnx", reason="onnx is not installed: its node tests are not run")


def recurrent_cases():
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind="node")
