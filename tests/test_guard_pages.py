"""No kernel reads or writes beyond a user's array, which only a page that must not be touched can show.

Each case runs in its own process: a stray access ends it with SIGSEGV, which is a failed test here.
"""

import signal
import sys

import pytest
from kernel_tools import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mmap and mprotect")

RUN = """
import sys
import numpy as np
import fastgate as fg
from guarded import guarded

kind, dtype = sys.argv[1:]
make, options = {
    "LSTM": (fg.LSTM, {}),
    "LSTM-peepholes": (fg.LSTM, {"peepholes": True}),
    "LSTM-projected": (fg.LSTM, {"peepholes": True, "coupled": True}),
    "GRU": (fg.GRU, {}),
    "GRU-reset-before": (fg.GRU, {"reset_after": False}),
    "RNN": (fg.RNN, {}),
}[kind]
rng = np.random.default_rng(0)

def own(*shape):
    return guarded(rng.uniform(-1, 1, shape).astype(dtype), side)

for side in ("end", "start"):
    print(side, flush=True)
    for B, H in [(1, 1), (7, 3), (1, 17), (7, 17), (7, 1)]:
        for I, T, batch_first in [(1, 3, True), (3, 2, False)]:
            memory = H
            if kind == "LSTM-projected":
                options["proj_size"], memory = H, H + 1
            layer = make(I, memory, seed=0, dtype=dtype, batch_first=batch_first, **options)
            rows = (B, T) if batch_first else (T, B)
            x, dy = own(*rows, I), own(*rows, H)
            states = (H, memory) if kind.startswith("LSTM") else (H,)
            state = tuple(own(1, B, size) for size in states)
            dstate = tuple(own(1, B, size) for size in states)
            state, dstate = (state, dstate) if len(states) == 2 else (state[0], dstate[0])
            lengths = guarded(rng.integers(0, T + 1, B), side)
            for given in (None, lengths):
                y, _ = layer(x, state, lengths=given)
                y, _, tape = layer.forward(x, state, lengths=given, copy=False)
                gradients = layer.backward(tape, dy, dstate)
                assert all(np.shares_memory(record.x, x) for record in tape.records)  # no copy was made
                assert all(np.isfinite(array).all() for array in (y, gradients.x, gradients.params.flat))
            y, state = layer.step(own(B, I), state)
            y, state = layer.step(own(B, I), state)
            assert np.isfinite(y).all()
"""

LINEAR = """
import sys
import numpy as np
import fastgate as fg
from guarded import guarded

_, dtype = sys.argv[1:]
rng = np.random.default_rng(0)

def own(*shape):
    return guarded(rng.uniform(-1, 1, shape).astype(dtype), side)

for side in ("end", "start"):
    print(side, flush=True)
    for P in (1, 7):
        for K in (1, 3, 17):
            for N in (1, 3, 17):
                layer = fg.Linear(K, N, seed=0, dtype=dtype)
                layer.params.flat = own(layer.params.flat.size)
                x = own(P, K)
                y = layer(x)
                y, tape = layer.forward(x)
                gradients = layer.backward(tape, own(P, N))
                assert np.isfinite(y).all() and np.isfinite(gradients.x).all()
"""


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("LSTM", "float32"),
        ("LSTM", "float64"),
        ("LSTM-peepholes", "float32"),
        ("LSTM-projected", "float32"),
        ("GRU", "float32"),
        ("GRU-reset-before", "float32"),
        ("RNN", "float32"),
        ("Linear", "float32"),
        ("Linear", "float64"),
    ],
)
def test_nothing_beyond_the_arrays_is_touched(kind, dtype):
    """Arrays that end at the page, then arrays that start right after it."""
    done = run_python(LINEAR if kind == "Linear" else RUN, kind, dtype)
    assert done.stdout == "end\nstart\n"


@pytest.mark.parametrize("side", ["end", "start"])
@pytest.mark.parametrize("access", ["read", "write"])
def test_the_guard_kills(access, side):
    """One vector, one element across the border: else the tests above would prove nothing."""
    code = """
    import sys
    import numpy as np
    from fastgate.kernels.cpu.features import lanes
    from guarded import copy_vector, guarded

    access, side = sys.argv[1:]
    border = guarded(np.zeros((1, lanes(np.dtype(np.float32))), np.float32), side)
    own = np.zeros_like(border)
    across = 1 if side == "end" else -1
    copy_vector(border, 0, own, 0)
    copy_vector(own, 0, border, 0)
    print("ready", flush=True)
    if access == "read":
        copy_vector(border, across, own, 0)
    else:
        copy_vector(own, 0, border, across)
    print("survived")
    """
    done = run_python(code, access, side, check=False)
    assert done.stdout == "ready\n"
    assert done.returncode == -signal.SIGSEGV
