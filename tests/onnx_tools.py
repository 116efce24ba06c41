"""ONNX's recurrent operators, written from their text in plain NumPy, and models of one node drawn at random."""

from typing import NamedTuple

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
FUNCTIONS = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0),
    "Affine": lambda x, alpha, beta: alpha * x + beta,
    "LeakyRelu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "ThresholdedRelu": lambda x, alpha: np.where(x >= alpha, x, 0),
    "ScaledTanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "HardSigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "Elu": lambda x, alpha: np.where(x >= 0, x, alpha * (np.exp(x) - 1)),
    "Softsign": lambda x: x / (1 + abs(x)),
    "Softplus": lambda x: np.log(1 + np.exp(x)),
}
PARAMETERS = {"LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1, "Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2}
VALUES = (0.25, 0.5, 0.75, 1.25)  # which float32 holds


class Case(NamedTuple):
    operator: str
    attributes: dict
    feeds: dict  # of the inputs that are there; X, W, R, B, sequence_lens, initial_h, initial_c, P

    def model(self, opset=14, constants=("W", "R", "B", "P")):
        names = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
        inputs = [name if name in self.feeds else "" for name in names][: 8 if self.operator == "LSTM" else 6]
        while not inputs[-1]:
            inputs.pop()
        outputs = ["Y", "Y_h", "Y_c"][: 3 if self.operator == "LSTM" else 2]
        node = make_node(self.operator, inputs, outputs, name="cell", **self.attributes)
        return model_of([node], self.feeds, outputs, constants, opset)

    def given(self, constants=("W", "R", "B", "P")):
        return {name: array for name, array in self.feeds.items() if name not in constants}


def model_of(nodes, feeds, outputs, constants=(), opset=14):
    """`outputs` in the dtype of the first feed."""
    dtypes = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    values = [make_tensor_value_info(name, dtypes[name], a.shape) for name, a in feeds.items() if name not in constants]
    first = next(iter(dtypes.values()))
    results = [make_tensor_value_info(name, first, None) for name in outputs]
    fixed = [onnx.numpy_helper.from_array(feeds[name], name) for name in constants if name in feeds]
    graph = make_graph(nodes, "test", values, results, fixed)
    return make_model(graph, opset_imports=[make_opsetid("", opset)], ir_version=8)


def drawn(operator, seed, dtype, *, direction=None, layout=0, T=6, B=3, I=3, H=4):
    """A case with any attributes and inputs."""
    rng = np.random.default_rng(seed)
    some = lambda: bool(rng.integers(2))  # noqa: E731
    direction = direction or str(rng.choice(["forward", "reverse", "bidirectional"]))
    D, G = 2 if direction == "bidirectional" else 1, GATES[operator]
    attributes = {"direction": direction, "hidden_size": H}
    if some():
        names = [str(name) for name in rng.choice(list(FUNCTIONS), len(USUAL[operator]) * D)]
        attributes["activations"] = names
        for kind, least in (("activation_alpha", 1), ("activation_beta", 2)):
            count = sum(PARAMETERS.get(name, 0) >= least for name in names)
            if count:
                attributes[kind] = rng.choice(VALUES, count).tolist()
    if some():
        attributes["clip"] = 0.75
    if operator == "GRU":
        attributes["linear_before_reset"] = int(some())
    if operator == "LSTM":
        attributes["input_forget"] = int(some())
    if layout:
        attributes["layout"] = 1
    shapes = {"X": (T, B, I), "W": (D, G * H, I), "R": (D, G * H, H)}
    optional = {"B": (D, 2 * G * H), "initial_h": (D, B, H)}
    optional |= {"initial_c": (D, B, H), "P": (D, 3 * H)} if operator == "LSTM" else {}
    shapes |= {name: shape for name, shape in optional.items() if some()}
    feeds = {name: rng.uniform(-0.8, 0.8, shape).astype(dtype) for name, shape in shapes.items()}
    if some():
        feeds["sequence_lens"] = rng.integers(1, T + 1, B).astype(np.int32)
    if layout:
        feeds |= {name: feeds[name].swapaxes(0, 1).copy() for name in ("X", "initial_h", "initial_c") if name in feeds}
    return Case(operator, attributes, feeds)


def activations_of(operator, attributes):
    """Of each direction; values go to those that take some, in order."""
    D = 2 if attributes.get("direction") == "bidirectional" else 1
    names = attributes.get("activations", USUAL[operator] * D)
    alpha, beta = iter(attributes.get("activation_alpha", ())), iter(attributes.get("activation_beta", ()))
    found = []
    for name in names:
        values = [next(values) for values in (alpha, beta)[: PARAMETERS.get(name, 0)]]
        found.append(lambda x, name=name, values=values: FUNCTIONS[name](x, *values))
    return [found[first : first + len(found) // D] for first in range(0, len(found), len(found) // D)]


def oracle(case):
    """Y, Y_h and, of an LSTM, Y_c."""
    operator, attributes, feeds = case
    batchwise, direction = attributes.get("layout", 0), attributes.get("direction", "forward")
    x = feeds["X"].swapaxes(0, 1) if batchwise else feeds["X"]
    T, B, _ = x.shape
    D, _, H = feeds["R"].shape
    lengths = feeds.get("sequence_lens", np.full(B, T))
    zeros = np.zeros((D, B, H), x.dtype)
    h0, c0 = (feeds.get(name, zeros) for name in ("initial_h", "initial_c"))
    h0, c0 = (state.swapaxes(0, 1) if batchwise and state is not zeros else state for state in (h0, c0))
    Y, Y_h, Y_c = np.zeros((T, D, B, H), x.dtype), h0.copy(), c0.copy()
    for d, functions in enumerate(activations_of(operator, attributes)):
        weights = [None if name not in feeds else feeds[name][d] for name in ("W", "R", "B", "P")]
        for b in range(B):
            steps = range(lengths[b])
            for t in steps[::-1] if direction == "reverse" or d else steps:
                h, c = step(case, functions, weights, x[t, b], Y_h[d, b], Y_c[d, b])
                Y[t, d, b], Y_h[d, b], Y_c[d, b] = h, h, c
    results = Y, Y_h, Y_c
    if batchwise:
        results = Y.transpose(2, 0, 1, 3), Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    return results[: 3 if operator == "LSTM" else 2]


def step(case, functions, weights, x, h, c):
    operator, attributes, _ = case
    W, R, B, P = weights
    bound = attributes.get("clip", np.inf)
    f, *others = (lambda x, own=own: own(np.clip(x, -bound, bound)) for own in functions)
    free = functions[-1]  # of c, which is not clipped
    H, G = len(h), GATES[operator]
    b = np.zeros(2 * G * H) if B is None else B
    Wb, Rb = b[: G * H].reshape(G, H), b[G * H :].reshape(G, H)
    from_x, U = (W @ x).reshape(G, H) + Wb, R.reshape(G, H, H)
    if operator == "RNN":
        return f(from_x[0] + U[0] @ h + Rb[0]), c
    if operator == "GRU":
        z, r = (f(from_x[gate] + U[gate] @ h + Rb[gate]) for gate in (0, 1))
        if attributes.get("linear_before_reset"):
            n = others[0](from_x[2] + r * (U[2] @ h + Rb[2]))
        else:
            n = others[0](from_x[2] + U[2] @ (r * h) + Rb[2])
        return (1 - z) * n + z * h, c
    p_i, p_o, p_f = np.zeros((3, H)) if P is None else P.reshape(3, H)
    i, o, g, n = (from_x[gate] + U[gate] @ h + Rb[gate] for gate in (0, 1, 2, 3))
    i = f(i + p_i * c)
    forget = 1 - i if attributes.get("input_forget") else f(g + p_f * c)
    c = forget * c + i * others[0](n)
    return f(o + p_o * c) * free(c), c
