"""An LSTM in NumPy whose products round their factors, and nothing else: what `precision` means, in a few lines.

`PYTHONPATH=. python tests/cuda/rounded_lstm.py` prints how far off that is for some H: initial weights, normal inputs,
100 steps; largest errors of y, and of gradients relative to the largest of them, in a mean over y of what it is
multiplied with.
"""

import sys
from typing import Any, NamedTuple

import numpy as np

import fastgate as fg
from fastgate.kernels import cpu


def tf32(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return (bits + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def in_two(x):
    high = cpu.rounded(x, "bfloat16")
    return high, cpu.rounded(x - high, "bfloat16")


PARTS = {
    "highest": lambda x: (x,),
    "high": in_two,
    "medium": lambda x: (tf32(x),),
    "bfloat16": lambda x: (cpu.rounded(x, "bfloat16"),),
    "float16": lambda x: (cpu.rounded(x, "float16"),),
}
OF_GRADIENTS = {"float16": "bfloat16"}


def product(a, b, precision):
    """a (M,K)  b (K,N), summed up in float64; small parts are not multiplied with small ones"""
    a, b = (PARTS[precision](np.asarray(x, np.float32)) for x in (a, b))
    pairs = [(m, n) for m in range(len(a)) for n in range(len(b)) if m + n < len(a)]
    return sum(a[m].astype(np.float64) @ b[n].astype(np.float64) for m, n in pairs)


class Found(NamedTuple):
    y: Any
    da: Any  # of pre-activations, (T,B,4*H)
    dW_ih: Any
    dW_hh: Any


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, h, c, W_ih, W_hh, bias, dy, dh, dc, precision):
    """x (T,B,I)  h, c (B,H)  W_ih (4*H,I)  W_hh (4*H,H)  bias (4*H)  dy (T,B,H)  dh, dc (B,H) of the end

    Without a W_ih, x (T,B,4*H) is the product with it.
    """
    T, B, H = dy.shape
    back, kept, y = OF_GRADIENTS.get(precision, precision), [], np.empty((T, B, H))
    for t in range(T):
        a = (x[t] if W_ih is None else product(x[t], W_ih.T, precision)) + product(h, W_hh.T, precision) + bias
        i, f, o = (sigmoid(a[:, gate * H : gate * H + H]) for gate in (0, 1, 3))
        g = np.tanh(a[:, 2 * H : 3 * H])
        kept.append((h, c, i, f, g, o))
        c = f * c + i * g
        h = y[t] = o * np.tanh(c)
    da, states = np.empty((T, B, 4 * H)), np.array([step[0] for step in kept]).reshape(T * B, H)
    for t in reversed(range(T)):
        _, c_prev, i, f, g, o = kept[t]
        dh, tanh_c = dh + dy[t], np.tanh(f * c_prev + i * g)
        dc = dc + dh * o * (1 - tanh_c**2)
        parts = dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)
        da[t], dc = np.concatenate(parts, axis=1), dc * f
        dh = product(da[t], W_hh, back)
    rows = da.reshape(T * B, 4 * H).T
    return Found(y, da, product(rows, x.reshape(T * B, -1), back), product(rows, states, back))


def main():
    say, (T, B, I) = sys.stdout.write, (100, 16, 64)
    say("largest errors of y, dW_ih, dW_hh\n")
    for H in (64, 256, 512, 1024):
        params, rng = fg.LSTM(I, H, seed=0).params, np.random.default_rng(0)
        x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H)) / (T * B * H)
        zeros, bias = np.zeros((B, H)), params["bias_ih_l0"] + params["bias_hh_l0"]
        weights = params["weight_ih_l0"], params["weight_hh_l0"], bias
        truth, *others = (lstm(x, zeros, zeros, *weights, dy, zeros, zeros, precision) for precision in PARTS)
        for precision, found in zip(list(PARTS)[1:], others, strict=True):
            errors = [np.abs(found.y - truth.y).max()]
            errors += [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found[2:], truth[2:], strict=True)]
            say(f"H={H:<5} {precision:9}" + "".join(f"{error:10.1e}" for error in errors) + "\n")


if __name__ == "__main__":
    main()
