"""The layers once more, as slow and as plain as can be: the oracle of the tests, which shares no code with the product.

One sequence at a time, one step at a time, in float64, with PyTorch's weights: rows of gates i f g o, or r z n.
Sizes: B sequences, T steps, I inputs, H units, L layers, D directions.
"""

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def lstm(W, x, h, c):
    a_i, a_f, a_g, a_o = np.split(W["ih"] @ x + W["b_ih"] + W["hh"] @ h + W["b_hh"], 4)
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    return sigmoid(a_o) * np.tanh(c), c


def gru(W, x, h):
    x_r, x_z, x_n = np.split(W["ih"] @ x + W["b_ih"], 3)
    h_r, h_z, h_n = np.split(W["hh"] @ h + W["b_hh"], 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return ((1.0 - z) * n + z * h,)


def gru_reset_before(W, x, h):
    x_r, x_z, x_n = np.split(W["ih"] @ x + W["b_ih"] + W["b_hh"], 3)
    U_r, U_z, U_n = np.split(W["hh"], 3)
    r, z = sigmoid(x_r + U_r @ h), sigmoid(x_z + U_z @ h)
    n = np.tanh(x_n + U_n @ (r * h))
    return ((1.0 - z) * n + z * h,)


def gru_reset_carry(W, x, h):
    x_r, x_z, x_n = np.split(W["ih"] @ x + W["b_ih"] + W["b_hh"], 3)
    U_r, U_z, U_n = np.split(W["hh"], 3)
    r, z = sigmoid(x_r + U_r @ h), sigmoid(x_z + U_z @ h)
    n = np.tanh(x_n + U_n @ (r * h))
    return ((1.0 - z) * n + z * r * h,)


def rnn_tanh(W, x, h):
    return (np.tanh(W["ih"] @ x + W["b_ih"] + W["hh"] @ h + W["b_hh"]),)


def rnn_relu(W, x, h):
    return (np.maximum(W["ih"] @ x + W["b_ih"] + W["hh"] @ h + W["b_hh"], 0.0),)


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
    return {"ih": W_ih, "hh": W_hh, "b_ih": b_ih, "b_hh": b_hh}


def forward(cell, params, x, start, lengths=None, *, num_layers=1, directions=1):
    """x (B,T,I), start: list of (L*D,B,H), h or h and c, lengths (B) -> y (B,T,D*H), list of final states

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
                    state = CELLS[cell](W, x[n, t], *state)
                    y[n, t, direction * H : (direction + 1) * H] = state[0]
                for part, value in zip(end, state, strict=True):
                    part[row, n] = value
    return y, end
