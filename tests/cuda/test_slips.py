"""Slips that one could make in the persistent kernels turn the simulator's tests red."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from recurrence import Recurrence, Sizes
from simulator import Deadlock, Divergence
from test_persistent import SMALL, TOLERANCE, on

from fastgate.kernels.cuda import blocks, persistent, persistent_backward

# Module, what stands there, what might; and where what the module makes is taken from, under which name.
SLIPS = {
    "no barrier after receiving": (
        "exchange", "patience, error)\n        cuda.syncthreads()", "patience, error)", blocks, "make_memory_exchange",
    ),
    "no barrier after multiplying": (
        "blocks", "rows):\n    cuda.syncthreads()", "rows):\n    pass", persistent, "make_phase",
    ),
    "what is there is not waited for": (
        "exchange", "while waits:", "while False:", blocks, "make_memory_exchange",
    ),
    "one of several numbers is not waited for": (
        "exchange", "WIDTH):\n            if is_unset", "WIDTH - 1):\n            if is_unset", blocks,
        "make_memory_exchange",
    ),
    "the wrong gate": (
        "blocks", "FIRST + row % GATES", "FIRST + (row + 1) % GATES", persistent, "make_fetch_of_rows",
    ),
    "the wrong slot": ("persistent", "then = now + B * H", "then = now + 2 * B * H", None, "make_forward"),
    "a sum without the first warp": (
        "blocks", "for part in range(COUNT)", "for part in range(1, COUNT)", persistent, "make_phase",
    ),
    "rows that do not run": ("persistent", "h_new if runs else h_prev", "h_new", None, "make_forward"),
    "no barrier of the cluster": (
        "clustered", "        meet()\n        return", "        return", blocks, "make_cluster_exchange",
    ),
    "sums of two turns in one place": (
        "clustered", "START + turn % 2 * OF_TURN", "START", blocks, "make_sums_of_cluster",
    ),
    "clusters write where others read": (
        "clustered", "(slot % 2 * ROWS + b)", "b", blocks, "make_cluster_exchange",
    ),
    "the previous gradient": ("persistent_backward", "dh_own += u[0]", "dh_own = u[0]", None, "make_backward"),
    "the last product is left out": (
        "persistent_backward", "range(T - 1, -2, -1)", "range(T - 1, -1, -1)", None, "make_backward",
    ),
}  # fmt: skip


def slipped(name, old, new):
    """The module, with that in its text."""
    module = importlib.import_module(f"fastgate.kernels.cuda.{name}")
    text = Path(module.__file__).read_text(encoding="utf-8")
    assert old in text
    copy = ModuleType(module.__name__)
    exec(compile(text.replace(old, new), module.__file__, "exec"), vars(copy))
    return copy


@pytest.mark.parametrize("slip", SLIPS)
def test_slip_is_seen(slip, monkeypatch):
    name, old, new, user, made = SLIPS[slip]
    module = slipped(name, old, new)
    forward, backward = persistent.make_forward.__wrapped__, persistent_backward.make_backward.__wrapped__
    if user is not None:
        monkeypatch.setattr(user, made, getattr(module, made))
    elif made == "make_forward":
        forward = module.make_forward.__wrapped__
    else:
        backward = module.make_backward.__wrapped__
    block = SMALL._replace(warps=2, cluster=2 if "cluster" in slip else 1, together=2 if "turns" in slip else 1)
    cell = "gru" if "previous" in slip else "lstm"
    case = Recurrence(cell, Sizes(T=4, B=3, H=8), lengths=[4, 1, 3])
    assert any(is_red(case, forward, backward, block, seed) for seed in range(10))


def is_red(case, forward, backward, block, seed):
    try:
        case.run_forward(forward, block, on(seed), limit=1000)
        case.run_backward(backward, block, on(seed), limit=1000)
    except (Deadlock, Divergence, IndexError):
        return True
    return not np.max(case.forward_errors() + case.backward_errors()) < TOLERANCE["highest"]
