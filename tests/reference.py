"""The layers once more, as slow and as plain as can be: the oracle of the tests, which shares no code with the product.

One sequence at a time, one step at a time, in float64, with PyTorch's weights: rows of gates i f g o, or r z n.
Sizes: B sequences, T steps, I inputs, H units, L layers, D directions.
"""

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


# As ONNX's operators have them; `p` are the parameters.
ACTIVATIONS = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0.0),
    "linear": lambda a: a,
    "affine": lambda a, p=1.0, q=0.0: p * a + q,
    "leaky_relu": lambda a, p=0.01: np.where(a >= 0, a, p * a),
    "thresholded_relu": lambda a, p=1.0: np.where(a < p, 0.0, a),
    "scaled_tanh": lambda a, p=1.0, q=1.0: p * np.tanh(q * a),
    "hard_sigmoid": lambda a, p=0.2, q=0.5: np.minimum(np.maximum(p * a + q, 0.0), 1.0),
    "elu": lambda a, p=1.0: np.where(a >= 0, a, p * (np.exp(np.minimum(a, 0.0)) - 1.0)),
    "softsign": lambda a: a / (1.0 + np.abs(a)),
    "softplus": lambda a: np.logaddexp(0.0, a),
}


class Plan:
    """Activations, and what a gate does: clip, then activate."""

    def __init__(self, activations, clip=None, **options):
        self.functions, self.clip, self.options = [activation_of(each) for each in activations], clip, options

    def __call__(self, which, a):
        return self.functions[which](a if self.clip is None else np.clip(a, -self.clip, self.clip))


def activation_of(named):
    name, *parameters = (named,) if isinstance(named, str) else named
    return lambda a: ACTIVATIONS[name](a, *parameters)


def lstm(W, x, h, c, plan=Plan(("sigmoid", "tanh", "tanh"))):  # noqa: B008 - never written
    a = W["ih"] @ x + W["b_ih"] + W["hh"] @ h + W["b_hh"]
    H = len(c)
    p_i, p_f, p_o = (W.get(f"p_{gate}", np.zeros(H)) for gate in "ifo")
    i = plan(0, a[:H] + p_i * c)
    f = 1.0 - i if plan.options.get("coupled") else plan(0, a[H : 2 * H] + p_f * c)
    c = f * c + i * plan(1, a[-2 * H : -H])
    h = plan(0, a[-H:] + p_o * c) * plan.functions[2](c)
    return W.get("hr", np.eye(H)) @ h, c


def gru(W, x, h, plan=Plan(("sigmoid", "tanh"))):  # noqa: B008
    x_r, x_z, x_n = np.split(W["ih"] @ x + W["b_ih"], 3)
    h_r, h_z, h_n = np.split(W["hh"] @ h + W["b_hh"], 3)
    r, z = plan(0, x_r + h_r), plan(0, x_z + h_z)
    n = plan(1, x_n + r * h_n)
    return ((1.0 - z) * n + z * h,)


def gru_reset_before(W, x, h, plan=Plan(("sigmoid", "tanh")), reset_carry=False):  # noqa: B008
    x_r, x_z, x_n = np.split(W["ih"] @ x + W["b_ih"] + W["b_hh"], 3)
    U_r, U_z, U_n = np.split(W["hh"], 3)
    r, z = plan(0, x_r + U_r @ h), plan(0, x_z + U_z @ h)
    n = plan(1, x_n + U_n @ (r * h))
    return ((1.0 - z) * n + z * (r * h if reset_carry else h),)


def gru_reset_carry(W, x, h, *plan):
    return gru_reset_before(W, x, h, *plan, reset_carry=True)


def rnn_tanh(W, x, h, plan=Plan(("tanh",))):  # noqa: B008
    return (plan(0, W["ih"] @ x + W["b_ih"] + W["hh"] @ h + W["b_hh"]),)


def rnn_relu(W, x, h):
    return rnn_tanh(W, x, h, Plan(("relu",)))


CELLS = {
    "lstm": lstm,
    "gru": gru,
    "gru_reset_before": gru_reset_before,
    "gru_reset_carry": gru_reset_carry,
    "rnn_tanh": rnn_tanh,
    "rnn_relu": rnn_relu,
}


def weights_of(params, layer, direction):
    """The four arrays of one direction of one layer, zeros for a bias that does not exist."""
    suffix = f"l{layer}" + ("_reverse" if direction else "")
    found = {name: np.asarray(params[name], np.float64) for name in params}
    W_ih, W_hh = found[f"weight_ih_{suffix}"], found[f"weight_hh_{suffix}"]
    b_ih, b_hh = np.zeros(len(W_hh)), np.zeros(len(W_hh))
    if f"bias_ih_{suffix}" in found:  # two, as in PyTorch
        b_ih, b_hh = found[f"bias_ih_{suffix}"], found[f"bias_hh_{suffix}"]
    elif f"bias_{suffix}" in found:  # one, as in the papers
        b_ih = found[f"bias_{suffix}"]
        if f"bias_hn_{suffix}" in found:  # and the one that a reset gate multiplies
            b_hh[-W_hh.shape[1] :] = found[f"bias_hn_{suffix}"]
    others = {f"p_{gate}": f"peephole_{gate}_{suffix}" for gate in "ifo"} | {"hr": f"weight_hr_{suffix}"}
    others = {short: found[name] for short, name in others.items() if name in found}
    return {"ih": W_ih, "hh": W_hh, "b_ih": b_ih, "b_hh": b_hh, **others}


def forward(cell, params, x, start, lengths=None, *, num_layers=1, directions=1, plan=()):
    """x (B,T,I), start: list of (L*D,B,H), h or h and c, lengths (B) -> y (B,T,D*H), list of final states

    plan: nothing, or one `Plan` of a cell that is not the usual one.
    Beyond a sequence's length y is zero.
    """
    B, T, _ = x.shape
    H = start[0].shape[2]
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    end = [np.array(part, np.float64) for part in start]
    y = np.asarray(x, np.float64)
    for layer in range(num_layers):
        x, y = y, np.zeros((B, T, directions * H))
        for direction in range(directions):
            W = weights_of(params, layer, direction)
            row = layer * directions + direction
            for n in range(B):
                times = range(lengths[n])
                state = [part[row, n] for part in end]
                for t in reversed(times) if direction else times:
                    state = CELLS[cell](W, x[n, t], *state, *plan)
                    y[n, t, direction * H : (direction + 1) * H] = state[0]
                for part, value in zip(end, state, strict=True):
                    part[row, n] = value
    return y, end
