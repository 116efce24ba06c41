"""Dropout masks: right in the mean, and a pure function of seed, key, layer, time, row and unit."""

import numpy as np
import pytest

import fastgate as fg
from fastgate.kernels import cpu
from fastgate.kernels.cpu import sharing
from fastgate.kernels.cpu.dropout import philox

P = 0.3


def mask(B, T, N, *, p=P, seed=1, key=2, layer=0, batch_first=True, dtype=np.float32):
    """What dropout multiplies ones with, as (B,T,N)."""
    rows = np.ones((B * T, N), dtype)
    schedule = cpu.uniform_schedule(B, T, batch_first, 1)
    cpu.dropout(rows, schedule, p, seed, key, layer)
    return rows.reshape(B, T, N) if batch_first else rows.reshape(T, B, N).swapaxes(0, 1)


def stack(**options):
    """Layer 0 hands its inputs on (they are positive, relu does nothing, W is the identity): y shows its mask."""
    n = 8
    options = {"num_layers": 2, "dropout": P, "nonlinearity": "relu", "bias": False, "seed": 1} | options
    layer = fg.RNN(n, n, **options)
    with layer.params.edit() as p:
        for name, array in p.items():
            array[...] = np.eye(n) if name.startswith("weight_ih") else 0
    return layer


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_of_its_authors(counter, key, expected):
    """The vectors published with the generator: philox4x32, ten rounds."""
    assert [int(word) for word in philox(*map(np.uint64, [*counter, *key]))] == expected


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mean_and_scale(p, dtype):
    found = mask(20, 50, 30, p=p, dtype=dtype)
    dropped = found == 0
    deviation = np.sqrt(p * (1 - p) / found.size)
    assert abs(dropped.mean() - p) < 5 * deviation  # one seed in two million would fail; this one is fixed
    assert np.unique(found).tolist() == [0, dtype(1 / (1 - p))]
    for axis in range(3):  # no sequence, step or unit is favoured
        others = tuple(a for a in range(3) if a != axis)
        count = found.size / found.shape[axis]
        assert np.abs(dropped.mean(axis=others) - p).max() < 5 * np.sqrt(p * (1 - p) / count)


def test_neighbours_are_independent():
    dropped = (mask(20, 50, 30) == 0) - P
    for axis in range(3):
        first, second = (np.moveaxis(dropped, axis, 0)[cut] for cut in (slice(1, None), slice(None, -1)))
        assert abs((first * second).mean()) < 5 * P * (1 - P) / np.sqrt(first.size)


def test_a_part_of_a_batch_has_its_part_of_the_mask():
    whole = mask(7, 9, 11)
    for B, T, N in [(1, 9, 11), (7, 1, 11), (7, 9, 1), (3, 5, 6)]:
        assert np.array_equal(mask(B, T, N), whole[:B, :T, :N])
        assert np.array_equal(mask(B, T, N, batch_first=False), whole[:B, :T, :N])
    assert np.array_equal(mask(7, 9, 11, dtype=np.float64) == 0, whole == 0)


@pytest.mark.parametrize(
    "other", [{"key": 3}, {"seed": 2}, {"layer": 1}, {"key": 2**63}, {"seed": 2**63}, {"key": 0}], ids=str
)
def test_another_place_has_another_mask(other):
    ours, theirs = mask(10, 10, 20) == 0, mask(10, 10, 20, **other) == 0
    assert abs((ours == theirs).mean() - (P**2 + (1 - P) ** 2)) < 5 * 0.5 / np.sqrt(ours.size)  # as by chance


def test_every_row_step_and_unit_has_its_own():
    dropped = mask(10, 10, 64) == 0
    for axis in range(3):
        assert len({cut.tobytes() for cut in np.moveaxis(dropped, axis, 0)}) == dropped.shape[axis]


def test_seed_and_key_do_not_run_into_one_another():
    """Both are numbers of 64 bits, and every pair is another pair."""
    ours, theirs = mask(10, 10, 20, seed=5 + (7 << 32), key=0), mask(10, 10, 20, seed=5, key=7)
    assert not np.array_equal(ours, theirs)


# ------------------------------------------------------------------------------------------------ through a layer


def test_the_mask_of_a_layer_is_that_of_its_place():
    B, T, n = 3, 4, 8
    layer = stack(num_layers=3)
    y = layer.forward(np.ones((B, T, n)), rng_key=2)[0]
    expected = mask(B, T, n) * mask(B, T, n, layer=1)  # none after the last
    assert np.array_equal(y, expected)
    assert layer.forward(np.ones((B, T, n)), rng_key=2)[0].tobytes() == y.tobytes()
    assert np.array_equal(layer.forward(np.ones((T, n)), rng_key=2)[0], expected[0])  # one sequence: the first


@pytest.mark.parametrize("options", [{}, {"batch_first": False}, {"dtype": "float64"}], ids=str)
@pytest.mark.parametrize("lengths", [None, [4, 0, 6, 1, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_mask_depends_on_nothing_else(options, lengths, threads, monkeypatch):
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    B, T, n = 5, 6, 8
    layer, before = stack(**options), fg.get_num_threads()
    x = np.ones((B, T, n) if layer.batch_first else (T, B, n))
    try:
        fg.set_num_threads(threads)
        y, _, tape = layer.forward(x, lengths=lengths, rng_key=2)
        dx = layer.backward(tape, np.ones_like(y)).x
    finally:
        fg.set_num_threads(before)
    expected = mask(B, T, n, dtype=layer.dtype.type)
    if lengths is not None:
        expected = expected * (np.arange(T) < np.array(lengths)[:, None])[..., None]
    for found in (y, dx):  # the way back is through the same mask
        assert np.array_equal(found if layer.batch_first else found.swapaxes(0, 1), expected)


def test_no_dropout_outside_training():
    B, T, n = 3, 4, 8
    layer, x = stack(), np.ones((3, 4, 8))
    assert np.array_equal(layer(x)[0], x)
    y, _, tape = layer.forward(x, training=False)
    assert np.array_equal(y, x)
    assert np.array_equal(layer.backward(tape, np.ones((B, T, n))).x, x)
    assert np.array_equal(stack(dropout=0.0).forward(x)[0], x)


def test_final_state_of_a_layer_is_not_dropped():
    layer = stack()
    _, state, _ = layer.forward(np.ones((2, 3, 8)), rng_key=2)
    assert (state[0] == 1).all()


def test_both_directions_have_masks_of_their_own():
    layer = fg.RNN(2, 32, 2, bidirectional=True, dropout=0.5, nonlinearity="relu", seed=0)
    with layer.params.edit() as p:
        for name, array in p.items():
            array[...] = 1 if name in ("bias_ih_l0", "bias_ih_l0_reverse") else 0
        p["weight_ih_l1"][...] = np.eye(32, 64)
        p["weight_ih_l1_reverse"][...] = np.eye(32, 64, 32)
    y = layer.forward(np.zeros((3, 4, 2)), rng_key=2)[0]
    assert np.array_equal(y, mask(3, 4, 64, p=0.5, seed=0))
    assert not np.array_equal(y[..., :32], y[..., 32:])


def test_dropped_entries_are_zero_whatever_they_were():
    """An infinite activation that is dropped leaves zero, not NaN."""
    rows = np.full((4, 8), np.inf, np.float32)
    cpu.dropout(rows, cpu.uniform_schedule(1, 4, True, 1), P, 1, 2, 0)
    assert np.array_equal(rows == 0, mask(1, 4, 8)[0] == 0)
