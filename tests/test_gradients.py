"""Every entry of every gradient by central differences, in float64, then directions at sizes too large for that."""

import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import CELLS, draw, draw_states, in_double, join, make, split

# A step of 1e-5 leaves a truncation error of 1e-10 times a third derivative of order one, and the loss (of order ten,
# summed to some 1e-15) is known to about 1e-9 when divided by it.
STEP, RTOL, ATOL = 1e-5, 1e-6, 5e-9

# Units of float32's rounding against our own float64, relative to the largest entry of each gradient.
UNITS = 32 * np.finfo(np.float32).eps


class Case(NamedTuple):
    options: dict[str, Any] = {}  # noqa: RUF012 - never written
    lengths: list[int] | None = None
    unbatched: bool = False
    cotangents: str = "all"  # or "y", "state", "h", "c": the others are None
    cells: tuple[str, ...] = tuple(CELLS)


CASES = {
    "two_layers": Case({"num_layers": 2}),
    "bidirectional": Case({"bidirectional": True}),
    "ragged": Case(lengths=[2, 0, 4, 1]),
    "all_lengths_zero": Case(lengths=[0, 0, 0, 0]),
    "no_bias": Case({"bias": False}),
    "single_bias": Case({"bias": "single"}),
    "time_first": Case({"batch_first": False}),
    "time_first_ragged": Case({"batch_first": False}, lengths=[2, 0, 4, 1]),
    "unbatched": Case({"bidirectional": True}, unbatched=True),
    "dropout": Case({"num_layers": 3, "dropout": 0.5}),
    "dropout_ragged_bidirectional": Case(
        {"num_layers": 2, "dropout": 0.4, "bidirectional": True}, lengths=[2, 0, 4, 1]
    ),
    "all_at_once": Case(
        {"num_layers": 2, "bidirectional": True, "batch_first": False, "bias": "single"}, lengths=[3, 4, 0, 1]
    ),
    "dy_only": Case({"num_layers": 2}, cotangents="y"),
    "dstate_only": Case({"num_layers": 2}, cotangents="state"),
    "dh_only": Case(cotangents="h", cells=("lstm",)),
    "dc_only": Case(cotangents="c", cells=("lstm",)),
}


class Problem:
    """A layer, a point, and a loss with random weights on y and on the final states."""

    def __init__(self, cell, B, T, I, H, case):
        rng = np.random.default_rng([B, T, I, H])
        self.case = case
        self.layer = make(cell, I, H, **case.options)
        self.x, self.start = draw(rng, self.layer, B, T)
        dstate = draw_states(rng, self.layer, B)
        if case.unbatched:
            self.x = self.x[0].copy()
            self.start = [part[:, 0].copy() for part in self.start]
            dstate = [part[:, 0].copy() for part in dstate]
        y, _, self.tape = self.forward()
        self.dy = rng.standard_normal(y.shape) if case.cotangents in ("all", "y") else None
        given = {"all": (0, 1), "state": (0, 1), "y": (), "h": (0,), "c": (1,)}[case.cotangents]
        self.dstate = [part if i in given else None for i, part in enumerate(dstate)]

    def forward(self):
        return self.layer.forward(self.x, join(self.start), lengths=self.case.lengths, rng_key=7)

    def loss(self):
        y, end, _ = self.forward()
        total = 0.0 if self.dy is None else float(np.sum(y * self.dy))
        return total + sum(float(np.sum(e * d)) for e, d in zip(split(end), self.dstate, strict=True) if d is not None)

    def gradients(self):
        dstate = None if all(part is None for part in self.dstate) else join(self.dstate)
        found = self.layer.backward(self.tape, self.dy, dstate)
        return {"x": found.x, **dict(zip(("h0", "c0"), split(found.state), strict=False))}, found.params

    def differences(self, array):
        """of the loss in every entry of an array that `loss` reads"""
        result = np.empty(array.shape)
        for i in np.ndindex(array.shape):
            value = array[i]
            array[i] = value + STEP
            above = self.loss()
            array[i] = value - STEP
            below = self.loss()
            array[i] = value
            result[i] = (above - below) / (2 * STEP)
        return result

    def parameter_differences(self):
        flat = self.layer.params.flat.copy()
        result = np.empty(flat.shape)
        for i, value in enumerate(flat):
            sides = []
            for step in (STEP, -STEP):
                moved = flat.copy()
                moved[i] = value + step
                self.layer.params.flat = moved
                sides.append(self.loss())
            result[i] = (sides[0] - sides[1]) / (2 * STEP)
        self.layer.params.flat = flat
        return result


def check_every_entry(cell, B, T, I, H, case):
    problem = Problem(cell, B, T, I, H, case)
    inputs, params = problem.gradients()
    for name, array in {"x": problem.x, **dict(zip(("h0", "c0"), problem.start, strict=False))}.items():
        np.testing.assert_allclose(inputs[name], problem.differences(array), RTOL, ATOL, err_msg=name)
    np.testing.assert_allclose(params.flat, problem.parameter_differences(), RTOL, ATOL, err_msg=str(params))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 2, 3, 2), (5, 1, 2, 3), (2, 3, 2, 17)], ids=str)
def test_every_entry(cell, size):
    check_every_entry(cell, *size, Case())


@pytest.mark.parametrize(
    ("cell", "case"),
    [pytest.param(cell, case, id=f"{name}-{cell}") for name, case in CASES.items() for cell in case.cells],
)
def test_every_entry_with_options(cell, case):
    check_every_entry(cell, 1 if case.unbatched else 4, 4, 2, 2, case)


# Rows, inputs and units that fill several tiles and vectors and leave a rest; more rows than are summed at a time.
LARGER = {
    "wide": ((9, 11, 7, 33), Case({"num_layers": 2, "bidirectional": True}, [11, 0, 7, 11, 3, 1, 10, 2, 11])),
    "long": ((4, 150, 2, 5), Case({"bidirectional": True}, [150, 149, 0, 75])),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("size", "case"), LARGER.values(), ids=LARGER)
def test_directions_at_a_larger_size(cell, size, case):
    problem = Problem(cell, *size, case)
    inputs, params = problem.gradients()
    named = {"x": problem.x, **dict(zip(("h0", "c0"), problem.start, strict=False))}
    rng = np.random.default_rng(5)
    for name, array in named.items():
        origin, direction = array.copy(), rng.standard_normal(array.shape)
        sides = []
        for step in (STEP, -STEP):
            array[...] = origin + step * direction
            sides.append(problem.loss())
        array[...] = origin
        along = (sides[0] - sides[1]) / (2 * STEP)
        # The slope along a random direction is a sum over up to a thousand entries; the error adds up likewise.
        np.testing.assert_allclose(np.sum(inputs[name] * direction), along, RTOL, 1e-6, err_msg=name)
    for name, gradient in params.items():
        origin, direction = problem.layer.params[name], rng.standard_normal(gradient.shape)
        sides = []
        for step in (STEP, -STEP):
            problem.layer.params[name] = origin + step * direction
            sides.append(problem.loss())
        problem.layer.params[name] = origin
        along = (sides[0] - sides[1]) / (2 * STEP)
        np.testing.assert_allclose(np.sum(gradient * direction), along, RTOL, 1e-6, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("H", [5, 16, 33])
def test_float32_beside_our_own_float64(cell, H):
    options = {"num_layers": 2, "bidirectional": True}
    lengths = [6, 0, 4, 1, 6, 5, 2]
    layer = make(cell, 3, H, dtype="float32", **options)
    rng = np.random.default_rng(6)
    x, start = draw(rng, layer, 7, 6)
    dy = rng.standard_normal((7, 6, 2 * H)).astype(np.float32)
    dstate = draw_states(rng, layer, 7)
    results = []
    for each in (layer, in_double(layer, cell, **options)):
        _, _, tape = each.forward(x, join(start), lengths=lengths)
        gradients = each.backward(tape, dy, join(dstate))
        results.append([gradients.x, *split(gradients.state), *gradients.params.values()])
    for single, double in zip(*results, strict=True):
        assert single.dtype == np.float32
        assert abs(single - double).max() <= UNITS * abs(double).max()


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_read_beyond_a_length(cell):
    lengths = [2, 0, 4, 1]
    beyond = np.arange(4) >= np.array(lengths)[:, None]
    layer = make(cell, 3, 5, num_layers=2, bidirectional=True)
    rng = np.random.default_rng(8)
    x, start = draw(rng, layer, 4, 4)
    dy, dstate = rng.standard_normal((4, 4, 10)), draw_states(rng, layer, 4)
    results = []
    for unread in (0.0, np.nan):
        x[beyond], dy[beyond] = unread, unread
        _, _, tape = layer.forward(x, join(start), lengths=lengths)
        results.append(layer.backward(tape, dy, join(dstate)))
    clean, poisoned = results
    np.testing.assert_array_equal(poisoned.x, clean.x)
    assert (poisoned.x[beyond] == 0).all()
    np.testing.assert_array_equal(poisoned.params.flat, clean.params.flat)
    for part, expected in zip(split(poisoned.state), split(clean.state), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_a_tape_serves_twice_and_gradients_do_not_accumulate(cell):
    problem = Problem(cell, 3, 4, 2, 5, Case({"num_layers": 2, "dropout": 0.5}))
    first, second = problem.gradients(), problem.gradients()
    np.testing.assert_array_equal(second[1].flat, first[1].flat)
    for name, array in first[0].items():
        np.testing.assert_array_equal(second[0][name], array)
        assert not np.may_share_memory(second[0][name], array)


def read_only_view(x):
    view = x.view()
    view.flags.writeable = False
    return view


def unaligned(x):
    memory = np.empty(x.nbytes + 1, np.uint8)
    array = memory[1:].view(x.dtype).reshape(x.shape)
    array[...] = x
    return array


# Each shares memory with an array that its owner may write to; an unpickled dtype equals float64 and is another object.
OWNED_BY_OTHERS = {
    "plain": lambda x: x,
    "read_only_view": read_only_view,
    "unpickled": lambda x: pickle.loads(pickle.dumps(x)),
    "unaligned": unaligned,
}


@pytest.mark.parametrize("of_owner", OWNED_BY_OTHERS.values(), ids=OWNED_BY_OTHERS)
def test_a_tape_keeps_its_own_x(of_owner):
    layer = make("lstm", 3, 5)
    owned = np.random.default_rng(9).standard_normal((2, 4, 3))
    x = of_owner(owned)
    y, _, tape = layer.forward(x)
    before = layer.backward(tape, np.ones_like(y))
    (x if x.flags.writeable else owned)[...] = 0
    np.testing.assert_array_equal(layer.backward(tape, np.ones_like(y)).params.flat, before.params.flat)


@pytest.mark.parametrize("cell", CELLS)
def test_arguments_are_left_as_they_were(cell):
    problem = Problem(cell, 3, 4, 2, 5, Case({"num_layers": 2, "bidirectional": True, "dropout": 0.5}))
    given = [problem.x, *problem.start, problem.dy, *problem.dstate]
    before = [array.copy() for array in given]
    y, end, _ = problem.forward()
    after_forward = [y.copy(), *[part.copy() for part in split(end)]]
    problem.gradients()
    for array, expected in zip([*given, y, *split(end)], [*before, *after_forward], strict=True):
        np.testing.assert_array_equal(array, expected)
