"""Files of Keras that are damaged, foreign or made to do harm: a clear error each, in little memory and time."""

import json
import struct
import time
import zipfile

import numpy as np
import pytest
from complaints import complaint
from keras_tools import dense, good_parts, nested, parts_of, write_parts

import fastgate as fg
from fastgate.exchange import keras_files

pytest.importorskip("h5py", reason="h5py is not installed: files of Keras are not tested")
pytestmark = pytest.mark.usefixtures("little_memory")
DEEP, HUGE = 100_000, 10**12


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return good_parts(tmp_path_factory.mktemp("keras") / "good.keras")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def refused(path, *pieces):
    return complaint(ValueError, "path", str(path), *pieces)


def test_the_tools_of_these_tests_write_a_good_file(path, parts):
    write_parts(path, parts)
    assert len(fg.from_keras(path).layers) == 6


# --------------------------------------------------------------------------------------------------------- archives

ARCHIVES = {
    "compressed": ({"method": zipfile.ZIP_DEFLATED}, "compressed"),
    "no_config": ({"config_json": None}, "no config.json"),
    "no_weights": ({"model_weights_h5": None}, "stored in another way"),
    "long_config": ({"config_json": b" " * (keras_files.LONGEST_CONFIG + 1)}, "are allowed"),
    "no_json": ({"config_json": b"{"}, "Expecting"),
    "no_text": ({"config_json": b"\xff"}, "utf-8"),
    "list": ({"config_json": b"[]"}, "of type list"),
    "number": ({"config_json": b"1"}, "of type int"),
    "deep": ({"config_json": b'{"a":' * DEEP}, "nested"),
    "twice": ({"config_json": b'{"a": 1, "a": 2}'}, "twice"),
    "nan": ({"config_json": b'{"a": NaN}'}, "NaN"),
    "digits": ({"config_json": b'{"a": ' + b"4" * 5000 + b"}"}, "digits"),
    "metadata": ({"metadata_json": b'{"keras_version": ['}, "Expecting"),
    "no_hdf5": ({"model_weights_h5": b"hello"}, "no file of HDF5"),
    "pickle": ({"model_weights_h5": b"\x80\x02N."}, "no file of HDF5"),
    "nothing": ({"model_weights_h5": b""}, "no file of HDF5"),
    "short": ({"model_weights_h5": b"\x89HDF\r\n\x1a\n"}, "cut off"),
}


@pytest.mark.parametrize(("members", "piece"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives(path, parts, members, piece):
    write_parts(path, parts, **members)
    with refused(path, piece):
        fg.from_keras(path)


# --------------------------------------------------------------------------------------------------- configurations


def rnn(cell):
    return {"class_name": "RNN", "config": {"cell": cell}}


def within(kind, attribute, depth=40):
    tree = {"class_name": "Dropout", "config": {}}
    for _ in range(depth):
        tree = {"class_name": kind, "config": {attribute: tree}}
    return tree


LAMBDA = {"class_name": "Lambda", "config": {"function": ["4wEAAAAAAAAA", None, None]}}
EVIL = {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": "system"}
OWN = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": "my>Dense"}
TREES = {
    "lambda": (LAMBDA, "Lambda: expected a layer of Keras that fastgate has"),
    "module": (EVIL, "of 'os', which is never imported or run"),
    "registered": (OWN, "'my>Dense'"),
    "function": (nested(1, dense(activation={"class_name": "function", "config": "f"})), "activation={"),
    "units": (nested(1, dense(units=HUGE)), "(2, 1000000000000)"),
    "larger": (nested(1, dense(units=10**400)), "kernel"),
    "fraction": (nested(1, dense(units=3.0)), "units"),
    "true": (nested(1, dense(units=True)), "units"),
    "bias": (nested(1, dense(use_bias="yes")), "use_bias"),
    "unknown": (nested(1, dense(colour="red")), "colour='red'"),
    "dtype": (nested(1, dense(dtype={"class_name": "Evil", "config": {"name": "float32"}})), "dtype"),
    "int8": (nested(1, dense(dtype="int8_from_float32")), "dtype"),
    "nested": (nested(20), "a layer 'dense': expected 'sequential'"),
    "no_layers": ({"class_name": "Sequential", "config": {}}, "a list of layers"),
    "empty": ({"class_name": "Sequential", "config": {"layers": []}}, "a layer 'dense': expected nothing"),
    "text_layers": ({"class_name": "Sequential", "config": {"layers": ["Dense"]}}, "a list of layers"),
    "no_class": ({"config": {}}, "class_name"),
    "no_config": ({"class_name": "Dense"}, "the config of a Dense"),
    "cell": (rnn(None), "got NoneType"),
    "no_cell": (rnn(rnn(None)), "LSTMCell, GRUCell, SimpleRNNCell, StackedRNNCells inside, got RNN"),
    "no_cells": (rnn({"class_name": "StackedRNNCells", "config": {"cells": [rnn(None)]}}), "inside, got RNN"),
    "cells": (rnn({"class_name": "StackedRNNCells", "config": {}}), "list of cells"),
    "inside": ({"class_name": "TimeDistributed", "config": {"layer": 3}}, "got int"),
    "both": ({"class_name": "Bidirectional", "config": {"layer": dense()}}, "RNN inside, got Dense"),
    "both_of_both": (within("Bidirectional", "layer"), "RNN inside, got Bidirectional"),  # of 2**40 layers
    "times_of_times": (within("TimeDistributed", "layer"), "inside, got TimeDistributed"),
    "long": ({"class_name": "x" * 10**6, "config": {}}, "..."),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "piece"), TREES.values(), ids=TREES)
def test_configurations(path, tree, piece):
    write_parts(path, parts_of(fg.Linear(2, 3), path), config_json=json.dumps(tree))
    with refused(path, piece):
        fg.from_keras(path)


def node(*sources, **kwargs):
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [own, 0, 0]}} for own in sources]
    return {"args": tensors, "kwargs": kwargs}


def graph(nodes, first=("x", 0, 0), last=("b", 0, 0)):
    layers = [dense() | {"name": name, "inbound_nodes": own} for name, own in nodes.items()]
    return {"class_name": "Functional", "config": {"layers": layers, "input_layers": first, "output_layers": last}}


GRAPHS = {
    "circle": (graph({"x": [], "a": [node("b")], "b": [node("a")]}), "a circle"),
    "itself": (graph({"x": [], "b": [node("b")]}), "a circle"),
    "unknown": (graph({"x": [], "b": [node("c")]}), "the output of a layer"),
    "two": (graph({"x": [], "b": [node("x", "x")]}), "one input"),
    "no_nodes": (graph({"x": [], "b": 3}), "called int times"),
    "odd_node": (graph({"x": [], "b": ["x"]}), "one input"),
    "odd_ends": (graph({"x": [], "b": [node("x")]}, first={"x": 0}), "input_layers"),
    "odd_history": (graph({"x": [], "b": [{"args": [{"config": 3}], "kwargs": {}}]}), "one input"),
    "kwargs": (graph({"x": [], "b": [node("x", initial_state=1)]}), "initial_state"),
    "training": (graph({"x": [], "b": [node("x", training=True)]}), "training"),
    "mask": (graph({"x": [], "b": [node("x", mask={"config": {"keras_history": ["b", 0, 0]}})]}), "the mask"),
    "branch": (graph({"x": [], "a": [node("x")], "b": [node("x")]}), "one after the other"),
}


@pytest.mark.parametrize(("tree", "piece"), GRAPHS.values(), ids=GRAPHS)
def test_graphs(path, parts, tree, piece):
    write_parts(path, parts, config_json=json.dumps(tree))
    with refused(path, piece):
        fg.from_keras(path)


# ----------------------------------------------------------------------------------------------------------- at random


def damaged(content, rng):
    """Bytes changed, numbers put in, the end cut off."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content)))
        match rng.integers(8):
            case 0:
                del content[at:]
                content += b"x"
            case 1:
                content[at : at + 8] = struct.pack("<Q", rng.integers(2**63))
            case 2:
                content[at : at + 8] = struct.pack("<Q", rng.integers(len(content)))
            case 3:
                content[at : at + 4] = struct.pack("<L", rng.integers(300))
            case _:
                content[at] = rng.integers(256)
    return bytes(content)


def twisted(tree, rng):
    """Something in the configuration is something else, or missing."""
    places = [(tree, key) for key in tree]
    for own, key in places:
        inner = own[key]
        places += (
            [(inner, each) for each in (inner if isinstance(inner, dict) else range(len(inner)))]
            if isinstance(inner, (dict, list))
            else []
        )
    own, key = places[rng.integers(len(places))]
    odd = [None, True, -1, 0, 3, HUGE, 10**400, 1e308, "x", "LSTM", [], {}, [1, 2], LAMBDA, "tanh", 0.5, "float64"]
    own[key] = odd[rng.integers(len(odd))]
    return json.dumps(tree).encode()


@pytest.mark.parametrize("what", ["archive", "weights", "config"])
def test_damage_anywhere(path, parts, what):
    """The same model, other numbers, or an error of ours, in a moment."""
    write_parts(path, parts)
    whole, rng, errors, slowest = path.read_bytes(), np.random.default_rng(0), 0, 0.0
    for _ in range(200):
        if what == "archive":
            path.write_bytes(damaged(whole, rng))
        elif what == "weights":
            write_parts(path, parts, model_weights_h5=damaged(parts["model.weights.h5"], rng))
        else:
            write_parts(path, parts, config_json=twisted(json.loads(parts["config.json"]), rng))
        start = time.process_time()
        try:
            fg.from_keras(path)
        except ValueError as error:
            assert str(error).startswith(f"path: {str(path)!r} ")  # noqa: PT017
            errors += 1
        slowest = max(slowest, time.process_time() - start)
    assert errors > 60
    assert slowest < 10
