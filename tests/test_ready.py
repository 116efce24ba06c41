"""What a thread keeps to repeat calls of a shape: it changes nothing but the time, and it is bounded."""

import numpy as np
import pytest

import fastgate as fg
from fastgate import _stack

I, H = 3, 20
SHAPES = [(2, 5), (3, 4), (1, 1), (2, 7), (4, 2), (2, 5), (5, 5)]


def everything(layer, x):
    y, state, tape = layer.forward(x)
    gradients = layer.backward(tape, np.cos(y))
    arrays = (y, layer(x)[0], *state, gradients.x, gradients.params.flat)
    return b"".join(array.tobytes() for array in arrays)


def test_shapes_in_turn_and_new_parameters():
    """Each result is that of a layer that has never seen anything else."""
    layer, rng = fg.LSTM(I, H, 2, bidirectional=True, seed=0), np.random.default_rng(0)
    for n, shape in enumerate(SHAPES * 3):
        x = rng.standard_normal((*shape, I)).astype(np.float32)
        fresh = fg.LSTM(I, H, 2, bidirectional=True, seed=0)
        if n % 2:
            layer.params.flat = fresh.params.flat = rng.standard_normal(fresh.params.flat.size)
        fresh.params.update(layer.params)
        assert everything(layer, x) == everything(fresh, x)


@pytest.mark.parametrize("kind", ["Forward", "Backward"])
def test_so_many_shapes_are_kept(kind):
    layer = fg.GRU(I, H, seed=0)
    found = []
    for shape in SHAPES[:6]:
        everything(layer, np.ones((*shape, I), np.float32))
        kept = getattr(layer._local, kind)
        found.append(len(kept))
        assert kept[-1][0].order.size == shape[0] or shape == SHAPES[0]
    assert found == [1, 2, 3, _stack.MOST_READY, _stack.MOST_READY, _stack.MOST_READY]


def test_what_cannot_come_again_is_not_kept():
    layer = fg.GRU(I, H, seed=0)
    layer(np.ones((3, 6, I)), lengths=[6, 2, 3])
    assert layer._local.Forward == []
    layer(np.ones((3, 6, I)), lengths=[6, 6, 6])
    assert len(layer._local.Forward) == 1


def test_large_ones_are_not_kept(monkeypatch):
    monkeypatch.setattr(_stack, "LARGEST_READY", 0)
    layer = fg.GRU(I, H, seed=0)
    layer(np.ones((3, 6, I)))
    assert layer._local.Forward == []
