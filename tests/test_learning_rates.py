"""Learning-rate schedules, against their formulas, alone and in an optimiser."""

import numpy as np
import pytest
from training_cases import gradients_like, train, two_layers

import fastgate as fg

SCHEDULES = {
    "constant": (lambda step: 0.1, lambda step: 0.1),
    "steps": (fg.StepDecay(0.1, 3, 0.5), lambda step: 0.1 * 0.5 ** (step // 3)),
    "exponential": (fg.ExponentialDecay(0.1, 0.5, 10), lambda step: 0.1 * 0.5 ** (step / 10)),
    "cosine": (fg.CosineDecay(0.1, 8, 0.02), lambda step: 0.06 + 0.04 * np.cos(np.pi * min(step, 8) / 8)),
    "warmup": (fg.LinearWarmup(4, 0.1), lambda step: 0.1 * min(1, (step + 1) / 5)),
    "both": (
        fg.LinearWarmup(4, fg.CosineDecay(0.1, 8)),
        lambda step: 0.1 * (step + 1) / 5 if step < 4 else 0.05 * (1 + np.cos(np.pi * min(step - 4, 8) / 8)),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_give_the_rate_of_every_step(name):
    schedule, formula = SCHEDULES[name]
    layers, twins = two_layers("float64"), two_layers("float64")
    scheduled, by_hand = fg.SGD(schedule, momentum=0.9), fg.SGD(momentum=0.9)
    rng = np.random.default_rng(0)
    for step in range(15):
        assert schedule(step) == pytest.approx(formula(step), rel=1e-12, abs=1e-17)
        gradients = gradients_like(layers, rng)
        if formula(step) > 0:
            by_hand.lr = formula(step)
        else:
            by_hand.lr = lambda _: 0.0
        scheduled.step([layer.params for layer in layers], gradients)
        by_hand.step([layer.params for layer in twins], gradients)
    for layer, twin in zip(layers, twins, strict=True):
        np.testing.assert_allclose(layer.params.flat, twin.params.flat, 1e-13)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, None, "1"])
def test_rates_of_schedules_are_checked_before_a_step(value):
    layers, optimizer = two_layers("float32"), fg.Adam(lambda step: 0.1 if step < 1 else value)
    train(optimizer, layers, steps=1)
    flat, state = layers[0].params.flat, optimizer.state()
    with pytest.raises((TypeError, ValueError), match=r"^lr: expected"):
        train(optimizer, layers, steps=1)
    assert layers[0].params.flat is flat
    assert all(np.array_equal(value, state[key]) for key, value in optimizer.state().items())


def test_options_of_schedules():
    for make, name in [
        (lambda: fg.StepDecay(0, 1), "lr"),
        (lambda: fg.StepDecay(np.inf, 1), "lr"),
        (lambda: fg.StepDecay(0.1, 0), "every"),
        (lambda: fg.StepDecay(0.1, 1, -1.0), "factor"),
        (lambda: fg.ExponentialDecay(0.1, 0), "factor"),
        (lambda: fg.ExponentialDecay(0.1, 0.9, 1.5), "every"),
        (lambda: fg.CosineDecay(0.1, 0), "steps"),
        (lambda: fg.CosineDecay(0.1, 3, -1), "end"),
        (lambda: fg.LinearWarmup(0, 0.1), "steps"),
        (lambda: fg.LinearWarmup(3, None), "then"),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
            make()
