"""What losses count and how much, against differences, PyTorch and the same loss of only what counts."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg
from fastgate.losses import LOSSES

B, T, F = 3, 4, 5
# Central differences in float64 with a step of 1e-6: truncation 1e-12, rounding 1e-10 of the loss.
STEP, RTOL, ATOL = 1e-6, 1e-7, 1e-8
NAMES = [loss.__name__ for loss in dict.fromkeys(LOSSES.values())]
NUMBERS = [name for name in NAMES if name != "cross_entropy"]
each = pytest.mark.parametrize("name", NAMES)


def draw(name, dtype="float64"):
    """(B,T,F) predictions and their targets, nowhere closer than a step to a kink."""
    rng = np.random.default_rng(1)
    y = (2 * rng.standard_normal((B, T, F))).astype(dtype)
    if name == "cross_entropy":
        return y, rng.integers(0, F, (B, T))
    return y, (rng.uniform(0, 1, y.shape) if name == "binary_cross_entropy" else rng.standard_normal(y.shape))


def options():
    rng = np.random.default_rng(2)
    return {
        "weights": rng.uniform(0, 2, (B, T)),
        "lengths": [4, 0, 2],
        "mask": rng.uniform(size=(B, T)) < 0.7,
    }


CHOICES = [(), ("weights",), ("lengths",), ("mask",), ("weights", "lengths", "mask")]
choices = pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "+".join(chosen) or "all")


def weight_of_steps(given):
    """(B,T), of those that count, 0 elsewhere."""
    weight = np.ones((B, T))
    if "weights" in given:
        weight = weight * given["weights"]
    if "lengths" in given:
        weight = weight * (np.arange(T) < np.array(given["lengths"])[:, None])
    return weight * given["mask"] if "mask" in given else weight


def theirs(torch, name, y, target):
    """PyTorch's loss of every unit."""
    functional = torch.nn.functional
    if name == "cross_entropy":
        return functional.cross_entropy(y.transpose(1, 2), target, reduction="none")
    function = {
        "mse": functional.mse_loss,
        "mae": functional.l1_loss,
        "huber": functional.huber_loss,
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    }[name]
    return function(y, target, reduction="none")


@each
@choices
def test_losses_are_those_of_torch(torch, name, chosen):
    y, target = draw(name)
    given = {key: options()[key] for key in chosen}
    tensor = torch.tensor(y, requires_grad=True)
    losses = theirs(torch, name, tensor, torch.from_numpy(target))
    weight = torch.from_numpy(weight_of_steps(given))
    weight = (weight if losses.ndim == 2 else weight[..., None]).broadcast_to(losses.shape)
    expected = (losses * weight).sum() / weight.sum()
    expected.backward()
    loss, dy = LOSSES[name](y, target, **given)
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(dy, tensor.grad.numpy(), 1e-12, 1e-15)


@each
@choices
def test_gradients_are_differences(name, chosen):
    y, target = draw(name)
    given = {key: options()[key] for key in chosen}
    _, dy = LOSSES[name](y, target, **given)
    for at in np.ndindex(y.shape):
        above, below = y.copy(), y.copy()
        above[at] += STEP
        below[at] -= STEP
        slope = (LOSSES[name](above, target, **given)[0] - LOSSES[name](below, target, **given)[0]) / (2 * STEP)
        assert dy[at] == pytest.approx(slope, RTOL, ATOL), at


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("key", ["weights", "lengths", "mask"])
def test_what_does_not_count_is_never_read(name, key, dtype):
    y, target = draw(name, dtype)
    counts = np.ones((B, T), bool)
    counts[0, 1] = counts[2, 2:] = False
    if key == "lengths":
        counts[0, 1] = True
    weights = np.where(counts, 1.5, 0)
    given = {"weights": {"weights": weights}, "lengths": {"lengths": [4, 4, 2]}, "mask": {"mask": counts}}[key]
    if key != "weights":
        given["weights"] = np.where(counts, 1.5, np.nan)
    expected, gradient = LOSSES[name](y[counts], target[counts])
    y[~counts] = np.nan
    target[~counts] = -100 if name == "cross_entropy" else np.nan
    if target.dtype == float and not counts[0, 1]:
        target[0, 1] = 1e300  # would become infinite in float32
    loss, dy = LOSSES[name](y, target, **given)
    assert loss == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-14)
    assert dy.dtype == dtype
    np.testing.assert_allclose(dy[counts], gradient, 1e-6 if dtype == "float32" else 1e-13)
    assert not dy[~counts].any()
    assert not np.isnan(dy).any()


@each
def test_full_lengths_and_masks_and_equal_weights_change_nothing(name):
    y, target = draw(name)
    loss, dy = LOSSES[name](y, target)
    full = {"lengths": np.full(B, T), "mask": np.ones(B, bool), "weights": np.full((B, T), 2)}
    for given in ({}, {"lengths": full["lengths"]}, {"mask": full["mask"]}, full):
        again, gradient = LOSSES[name](y, target, **given)
        assert again == pytest.approx(loss, rel=1e-15)
        np.testing.assert_allclose(gradient, dy, 1e-15)


@pytest.mark.parametrize("name", NUMBERS)
def test_weights_and_masks_of_single_entries(name):
    y, target = draw(name)
    rng = np.random.default_rng(3)
    mask, weights = rng.uniform(size=y.shape) < 0.5, rng.uniform(0, 2, (B, T, F))
    loss, dy = LOSSES[name](y, target, mask=mask, weights=weights)
    expected, gradient = LOSSES[name](y[mask], target[mask], weights=weights[mask])
    assert loss == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(dy[mask], gradient, 1e-13)
    assert not dy[~mask].any()


def test_no_weight_inside_a_mask():
    y, target = draw("mse")
    weights, mask = np.ones((B, T)), np.ones((B, T), bool)
    weights[0, 0], mask[1, 1] = 0, False
    y[0, 0] = target[1, 1] = np.nan
    counts = mask & (weights > 0)
    assert fg.mse(y, target, weights=weights, mask=mask)[0] == fg.mse(y[counts], target[counts])[0]


# ------------------------------------------------------------------------------------------------- which shapes match

SPREAD = [  # shape of y, shape of the target, what it is for every entry
    ((B, T, F), (B, F), lambda t: np.repeat(t[:, None], T, axis=1)),
    ((B, T, F, 2), (B, F, 2), lambda t: np.repeat(t[:, None], T, axis=1)),
    ((B, T, 1), (B,), lambda t: np.repeat(t[:, None, None], T, axis=1)),
    ((B, T, 1), (B, 1), lambda t: np.repeat(t[:, None], T, axis=1)),
    ((B, T, 1), (B, T), lambda t: t[..., None]),
    ((B, B, 1), (B, B), lambda t: t[..., None]),  # which axis is which never depends on sizes
    ((B, B, B), (B, B), lambda t: np.repeat(t[:, None], B, axis=1)),
    ((B, 1), (B,), lambda t: t[:, None]),
    ((1, T, 1), (1, 1), lambda t: np.repeat(t[:, None], T, axis=1)),
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(("shape", "given", "spread"), SPREAD, ids=[f"{y} {t}" for y, t, _ in SPREAD])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_targets_without_an_axis(name, shape, given, spread, masked):
    rng = np.random.default_rng(4)
    y, target = rng.standard_normal(shape), rng.uniform(size=given)
    chosen = {"mask": np.arange(y.size).reshape(shape) % 3 > 0} if masked else {}
    loss, dy = LOSSES[name](y, target, **chosen)
    expected, gradient = LOSSES[name](y, spread(target), **chosen)
    assert loss == expected
    assert np.array_equal(dy, gradient)


@pytest.mark.parametrize("given", [{}, {"lengths": [4, 1, 0]}], ids=["all", "lengths"])
def test_one_class_for_all_steps(given):
    logits, target = np.random.default_rng(5).standard_normal((B, T, F)), np.array([4, 0, 2])
    loss, gradient = fg.cross_entropy(logits, target, **given)
    expected, repeated = fg.cross_entropy(logits, np.repeat(target[:, None], T, axis=1), **given)
    assert loss == expected
    assert np.array_equal(gradient, repeated)


def test_shapes_that_do_not_match():
    y = np.zeros((2, 3, 4))
    for shape in [(3, 4), (2, 3), (2, 1, 4), (2,), (2, 3, 4, 1), ()]:
        with complaint(ValueError, "target", "that of y, (2, 3, 4) or (2, 4)", f"got {shape}"):
            fg.mse(y, np.zeros(shape))
    with complaint(ValueError, "target", "that of y, (2, 1) or (2,)", "got (1, 2)"):
        fg.mae(np.zeros((2, 1)), np.zeros((1, 2)))
    with complaint(ValueError, "target", "without the last axis, (2, 3) or (2,)", "got (3,)"):
        fg.cross_entropy(y, np.zeros(3, int))
    with complaint(ValueError, "logits", "(..., classes)", "got ()"):
        fg.cross_entropy(0.0, 0)
    with complaint(ValueError, "target", "probabilities", "0.0 to 1.5"):
        fg.binary_cross_entropy([0.0, 1.0], [0, 1.5])
    with complaint(ValueError, "target", "probabilities", "nan"):
        fg.binary_cross_entropy([0.0, 1.0], [0, np.nan])
    with complaint(ValueError, "delta", "positive"):
        fg.huber(y, y, delta=0)


def test_what_counts_that_is_wrong():
    y = np.zeros((2, 3, 4))
    for name, value in (("mask", np.ones(3, bool)), ("weights", np.ones((2, 4))), ("weights", 1.0)):
        with complaint(ValueError, name, "(2, 3, 4) or some of its leading axes"):
            fg.mse(y, y, **{name: value})
    with complaint(ValueError, "weights", "(2, 3) or some of its leading axes", "got (2, 3, 4)"):
        fg.cross_entropy(y, np.zeros((2, 3), int), weights=y)
    with complaint(TypeError, "mask", "booleans", "dtype int64; mask.astype(bool)"):
        fg.mse(y, y, mask=np.ones(2, np.int64))
    for value in (-1.0, np.nan, np.inf, 1e308):
        with complaint(ValueError, "weights", "at least 0, and a finite sum"):
            fg.mse(y, y, weights=[value, 1e308])
    with complaint(ValueError, "lengths", "from 0 to 3", "0 to 4"):
        fg.mse(y, y, lengths=[0, 4])
    with complaint(TypeError, "lengths", "no axis of steps"):
        fg.cross_entropy(y[0], [0, 0, 0], lengths=[1, 1, 1])
    for given in ({"lengths": [0, 0]}, {"mask": [False, False]}, {"weights": [0, 0]}):
        with complaint(ValueError, *given, "at least one entry that counts"):
            fg.mse(y, y, **given)
    with complaint(ValueError, "lengths, mask", "at least one entry that counts"):
        fg.mse(y, y, lengths=[0, 3], mask=[True, False])


# ------------------------------------------------------------------------------------------------------- hard numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_of_large_logits(dtype):
    logits, target = np.array([1000, 1000, -1000, -1000, 0], dtype), np.array([1, 0, 0, 1, 1])
    for z, t, expected in zip(logits, target, [0, 1000, 0, 1000, np.log(2)], strict=True):
        assert fg.binary_cross_entropy([z], [t])[0] == pytest.approx(expected, rel=1e-7)
    assert (5 * fg.binary_cross_entropy(logits, target)[1]).tolist() == [0, 1, 0, -1, -0.5]
    for z, t in ((40, 1), (-40, 0)):  # neither the loss nor the gradient is lost in the rounding of 1
        loss, dy = fg.binary_cross_entropy(np.array([z], dtype), [t])
        assert loss == pytest.approx(np.exp(-40), rel=1e-5, abs=0)
        assert abs(dy[0]) == pytest.approx(np.exp(-40), rel=1e-5, abs=0)


def test_one_class_only():
    loss, gradient = fg.cross_entropy(np.array([[1000.0], [-3.0]]), [0, 0])
    assert loss == 0
    assert gradient.tolist() == [[0], [0]]


def test_a_class_that_is_ruled_out():
    loss, gradient = fg.cross_entropy([[0.0, -np.inf, 0.0]], [0])
    assert loss == pytest.approx(np.log(2))
    assert gradient.tolist() == [[-0.5, 0, 0.5]]


@each
def test_what_is_not_finite_is_told_by_the_loss_alone(name):
    """Without a warning: who trains looks at the loss."""
    y, target = draw(name, "float32")
    for value in (np.nan, np.inf):
        y[0, 0] = value
        assert not np.isfinite(LOSSES[name](y, target)[0])
    if name in ("mse", "mae", "huber"):
        assert not np.isnan(LOSSES[name](np.full(3, 3e38, "f4"), np.full(3, -3e38, "f4"))[0])


@pytest.mark.parametrize("given", [{}, {"weights": np.ones(4_000_000)}], ids=["equal", "weighted"])
def test_sums_are_in_double(given):
    """A running sum in float32 stands still from 2**24 on."""
    y = np.full(4_000_000, 0.1, np.float32)
    given = {key: value[: y.size] for key, value in given.items()}
    assert fg.mae(y, np.zeros_like(y), **given)[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)
    assert fg.mse(1e30 * y, np.zeros_like(y), **given)[0] == pytest.approx(1e58, rel=1e-6)


def test_large_batches_are_worked_on_in_blocks():
    """The rows of a block do not know of the others."""
    rng = np.random.default_rng(6)
    logits, target = rng.standard_normal((300, 1000), np.float32), rng.integers(0, 1000, 300)
    weights = rng.uniform(0.5, 1, 300)
    loss, gradient = fg.cross_entropy(logits, target, weights=weights)
    single = [fg.cross_entropy(logits[i : i + 1], target[i : i + 1]) for i in range(300)]
    shares = weights / weights.sum()
    assert loss == pytest.approx(sum(share * one for share, (one, _) in zip(shares, single, strict=True)), rel=1e-6)
    expected = np.concatenate([share * d for share, (_, d) in zip(shares, single, strict=True)])
    np.testing.assert_allclose(gradient, expected, 1e-5, 1e-12)
