"""Record rtneural_oracle.json: what RTNeural computes, in double and in float, of models in its own JSON.

Needs a C++ compiler and a checkout of https://github.com/jatinchowdhury18/RTNeural (recorded with commit 1fb1f07 and
its plain C++ backend, which calls std::tanh and std::exp), and nothing of fastgate:

    python tests/record_rtneural_oracle.py FOLDER_OF_RTNEURAL

Weights are of two decimals and as RTNeural, like Keras, lays them out: (I,G*H), (H,G*H), gates i f c o of an LSTM,
z r h of a GRU, whose biases are (2,3H).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

T = 6
PROGRAM = """
#define RTNEURAL_USE_STL 1
#define RTNEURAL_DEFAULT_ALIGNMENT 16
#define RTNEURAL_NO_DEBUG 1
#include "RTNeural/RTNeural.h"
#include <iostream>

template <typename T> nlohmann::json run(const nlohmann::json& given)
{
    auto model = RTNeural::json_parser::parseJson<T>(given.at("model"));
    model->reset();
    auto found = nlohmann::json::array();
    for(const auto& row : given.at("x"))
    {
        const auto x = row.get<std::vector<T>>();
        model->forward(x.data());
        found.push_back(std::vector<T>(model->getOutputs(), model->getOutputs() + model->getOutSize()));
    }
    return found;
}

int main()
{
    nlohmann::json given;
    std::cin >> given;
    std::cout << nlohmann::json { { "double", run<double>(given) }, { "float", run<float>(given) } };
}
"""


def layer(rng, kind, n, m, activation=""):
    """One of n inputs and m outputs as RTNeural's Python code writes it."""
    shapes = {
        "lstm": [(n, 4 * m), (m, 4 * m), (4 * m,)],
        "gru": [(n, 3 * m), (m, 3 * m), (2, 3 * m)],
        "dense": [(n, m), (m,)],
        "time-distributed-dense": [(n, m)],
        "activation": [],
    }[kind]
    weights = [rng.uniform(-1, 1, shape).round(2).tolist() for shape in shapes]
    return {"type": kind, "activation": activation, "shape": [None, None, m], "weights": weights}


def prelu(n, alpha):
    return {"type": "prelu", "activation": "", "shape": [None, None, n], "weights": [[[alpha] * n]]}


def models(rng):
    def of(n, *layers):
        return {"in_shape": [None, None, n], "layers": list(layers)}

    yield "lstm", of(2, layer(rng, "lstm", 2, 5, "tanh"))
    yield "gru", of(2, layer(rng, "gru", 2, 5, "tanh"))
    dense = [layer(rng, "dense", 3, 3, name) for name in ("tanh", "relu", "elu", "sigmoid")]
    yield "dense", of(3, *dense, layer(rng, "time-distributed-dense", 3, 4), layer(rng, "activation", 4, 4, "softmax"))
    yield "leaky", of(2, layer(rng, "dense", 2, 3), prelu(3, 0.01))
    stack = layer(rng, "dense", 1, 3, "tanh"), layer(rng, "lstm", 3, 4, "tanh"), layer(rng, "gru", 4, 3, "tanh")
    yield "stack", of(1, *stack, layer(rng, "dense", 3, 1))


def record(folder):
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as build:
        source, program = Path(build, "oracle.cpp"), Path(build, "oracle")
        source.write_text(PROGRAM, encoding="utf-8")
        subprocess.run(["g++", "-O1", "-std=c++17", "-w", f"-I{folder}", source, "-o", program], check=True)
        for name, model in models(rng):
            given = {"model": model, "x": rng.uniform(-2, 2, (T, model["in_shape"][-1])).round(2).tolist()}
            done = subprocess.run([program], input=json.dumps(given), capture_output=True, text=True, check=True)
            yield name, given | json.loads(done.stdout)


if __name__ == "__main__":
    cases = dict(record(Path(sys.argv[1]).resolve()))
    Path(__file__).with_name("rtneural_oracle.json").write_text(json.dumps(cases) + "\n", encoding="utf-8")
