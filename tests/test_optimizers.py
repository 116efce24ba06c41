"""Optimisers, against plain formulas and PyTorch."""

import numpy as np
import pytest
from complaints import complaint
from training_cases import gradients_like, train, two_layers

import fastgate as fg

OPTIONS = [{}, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}, {"betas": (0.0, 0.0)}]
options_given = pytest.mark.parametrize("options", OPTIONS, ids=["defaults", "all", "no memory"])


@options_given
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-14), ("float32", 1e-5)])
def test_adam_is_the_formula(options, dtype, rtol):
    """Kingma and Ba 2015, algorithm 1, one number after the other in float64; roundings of some steps apart."""
    layers, rng = two_layers(dtype), np.random.default_rng(0)
    optimizer = fg.Adam(**options)
    (beta1, beta2), lr, eps = optimizer.betas, optimizer.lr, optimizer.eps
    values = [layer.params.flat.astype(float) for layer in layers]
    m, v = ([np.zeros_like(value) for value in values] for _ in range(2))
    versions = [layer.params.version for layer in layers]
    for t in range(1, 8):
        gradients = gradients_like(layers, rng)
        kept = [gradient.flat.copy() for gradient in gradients]
        optimizer.step([layer.params for layer in layers], gradients)
        for value, mean, square, g in zip(values, m, v, kept, strict=True):
            for i in range(value.size):
                mean[i] = beta1 * mean[i] + (1 - beta1) * float(g[i])
                square[i] = beta2 * square[i] + (1 - beta2) * float(g[i]) ** 2
                value[i] -= lr * (mean[i] / (1 - beta1**t)) / (np.sqrt(square[i] / (1 - beta2**t)) + eps)
        assert all(np.array_equal(g.flat, was) for g, was in zip(gradients, kept, strict=True))
    for layer, value, version in zip(layers, values, versions, strict=True):
        np.testing.assert_allclose(layer.params.flat, value, rtol, rtol)
        assert layer.params.flat.dtype == dtype
        assert layer.params.version == version + 7
    assert optimizer.steps == 7


# Options of ours, which are torch's by the same names.
THEIRS = {
    "sgd": (fg.SGD, {"lr": 0.1}),
    "sgd decay": (fg.SGD, {"lr": 0.1, "weight_decay": 0.3}),
    "sgd momentum": (fg.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
    "sgd nesterov": (fg.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3}),
    **{f"adam {i}": (fg.Adam, options) for i, options in enumerate(OPTIONS)},
    "adam decay": (fg.Adam, {"lr": 0.1, "weight_decay": 0.3}),
    "adamw": (fg.AdamW, {"lr": 0.1}),
    "adamw decay": (fg.AdamW, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    "rmsprop": (fg.RMSprop, {}),
    "rmsprop decay": (fg.RMSprop, {"lr": 0.1, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.3}),
    "rmsprop momentum": (fg.RMSprop, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
}
optimizers = pytest.mark.parametrize("name", THEIRS)


def ours(name, **more):
    kind, options = THEIRS[name]
    return kind(**options, **more)


@optimizers
def test_steps_are_those_of_torch(torch, name):
    layers, rng = two_layers("float64"), np.random.default_rng(0)
    tensors = [torch.tensor(layer.params.flat, requires_grad=True) for layer in layers]
    kind, options = THEIRS[name]
    theirs = getattr(torch.optim, kind.__name__)(tensors, **options)
    for _ in range(25):
        for tensor, gradient in zip(tensors, gradients_like(layers, rng), strict=True):
            tensor.grad = torch.from_numpy(gradient.flat)
        theirs.step()
    expected = np.concatenate([tensor.detach().numpy() for tensor in tensors])
    np.testing.assert_allclose(train(ours(name), layers), expected, 1e-12, 1e-12)


@optimizers
def test_a_restored_optimizer_goes_on_to_the_same_bits(name):
    layers, twins = two_layers("float32"), two_layers("float32")
    first = ours(name)
    train(first, layers, steps=3)
    train(ours(name), twins, steps=3)
    kept = {key: np.asarray(value) for key, value in first.state().items()}  # as a file holds it
    expected = train(first, layers, seed=1)
    second = ours(name)
    second.restore(kept)
    assert second.steps == 3
    assert np.array_equal(train(second, twins, seed=1), expected)
    assert first.state().keys() == kept.keys() == second.state().keys()


def test_states_are_copies():
    layers, optimizer = two_layers("float32"), fg.Adam()
    train(optimizer, layers, steps=1)
    state = optimizer.state()
    kept = {key: np.copy(value) for key, value in state.items()}
    optimizer.restore(state)
    train(optimizer, layers, steps=1)
    assert all(np.array_equal(state[key], kept[key]) for key in kept)


def test_states_of_something_else():
    layers, optimizer = two_layers("float32"), fg.Adam()
    train(optimizer, layers, steps=2)
    state = optimizer.state()
    before = optimizer.state()
    less = {key: value for key, value in state.items() if key != "1.square"}
    for wrong in (
        {},
        less,
        fg.SGD().state() | {"layers": 2},
        state | {"2.mean": state["0.mean"]},
        state | {"layers": 1},
    ):
        with complaint(ValueError, "state"):
            optimizer.restore(wrong)
    with complaint(ValueError, "state", "999999999999"):
        optimizer.restore(state | {"layers": 999_999_999_999})
    with complaint(TypeError, "state", "a mapping", "got list"):
        optimizer.restore([])
    for value in (np.zeros((2, 2)), np.zeros(3, int), "a", 1.0):
        with complaint(TypeError, "state['1.mean']", "a vector of float32 or float64"):
            optimizer.restore(state | {"1.mean": value})
    for value in (-1, 1.5, "1"):
        with pytest.raises((TypeError, ValueError), match=r"^state\['steps'\]: expected"):
            optimizer.restore(state | {"steps": value})
    after = optimizer.state()
    assert all(np.array_equal(after[key], before[key]) for key in before)
    other = fg.Adam()
    other.restore(state)
    for others in ([fg.Linear(5, 5)], two_layers("float64")):
        flat = [layer.params.flat for layer in others]
        with complaint(ValueError, "params", "the same layers as at the first step"):
            train(other, others)
        assert all(layer.params.flat is was for layer, was in zip(others, flat, strict=True))
    assert other.steps == 2


def test_large_layers_are_worked_on_in_blocks():
    """No entry knows of the others."""
    shapes, rng = {"w": (200_000,)}, np.random.default_rng(0)
    flat = rng.standard_normal(200_000)
    whole, some = fg.Params(shapes, np.dtype(float)), fg.Params({"w": (2_000,)}, np.dtype(float))
    first, second = fg.Adam(), fg.Adam()
    for _ in range(2):
        first.step([whole], [fg.NamedArrays(flat, shapes)])
        second.step([some], [fg.NamedArrays(flat[::100].copy(), {"w": (2_000,)})])
    assert np.array_equal(whole.flat[::100], some.flat)


@optimizers
def test_gradients_that_are_not_finite_make_no_half_step(name):
    layers = two_layers("float32")
    for value in (np.nan, np.inf, 1e30):
        gradients = gradients_like(layers, np.random.default_rng(0))
        gradients[0].flat[0] = value
        ours(name).step([layer.params for layer in layers], gradients)
    assert [layer.params.version for layer in layers] == [4, 4]  # made, and three steps


def test_options_out_of_range():
    for kind, option, value in [
        *[
            (kind, "weight_decay", value)
            for kind in (fg.SGD, fg.Adam, fg.RMSprop)
            for value in (-1, np.inf, np.nan, "1")
        ],
        *[(kind, "lr", value) for kind in (fg.SGD, fg.AdamW, fg.RMSprop) for value in (0, -1.0, None, "1")],
        *[(kind, "momentum", value) for kind in (fg.SGD, fg.RMSprop) for value in (-0.1, 1, None)],
        *[(fg.RMSprop, name, value) for name in ("alpha", "eps") for value in (-0.1, None)],
        (fg.SGD, "nesterov", 1),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"^{option}: expected "):
            kind(**{option: value})
    with complaint(ValueError, "momentum", "above 0, because of nesterov"):
        fg.SGD(nesterov=True)


def test_printed_forms():
    for text in (
        "Adam(lr=0.01, betas=(0.5, 0.9), eps=1e-06)",
        "Adam(lr=0.01, betas=(0.5, 0.9), eps=1e-06, weight_decay=0.1)",
        "AdamW(lr=0.01, betas=(0.5, 0.9), eps=1e-06, weight_decay=0.0)",
        "SGD(lr=0.01)",
        "SGD(lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1)",
        "RMSprop(lr=0.01, alpha=0.9, eps=1e-06, momentum=0.5)",
    ):
        assert repr(eval(f"fg.{text}")) == text
    schedule = fg.LinearWarmup(4, fg.CosineDecay(0.1, 8))
    assert repr(fg.SGD(schedule)) == f"SGD(lr={schedule})"


def test_vectors_as_compiled_code_makes_them_are_gradients_too():
    rng, owners, ends = np.random.default_rng(0), [two_layers("float32") for _ in range(2)], []
    named = gradients_like(owners[0], rng)
    for layers, gradients in zip(owners, ([g.flat.copy() for g in named], named), strict=True):
        norm = fg.clip_gradient_norm(gradients, 1.0)
        fg.Adam().step([layer.params for layer in layers], gradients)
        ends.append([norm, *(layer.params.flat for layer in layers)])
    for found, expected in zip(*ends, strict=True):
        np.testing.assert_array_equal(found, expected)
    with complaint(TypeError, "gradients", "or of vectors of float32 or float64", "ndarray"):
        fg.Adam().step([layer.params for layer in owners[0]], [g.flat.astype(int) for g in named])
