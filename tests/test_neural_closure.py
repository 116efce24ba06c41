"""The example of a network inside a solver: its gradients through the whole simulation, and what it learns."""

import re

import numpy as np
import pytest
from differences import assert_close, differences, in_params

import fastgate as fg
from fastgate.examples import _program, neural_closure
from fastgate.examples.neural_closure import Simulator


@pytest.fixture
def case():
    """A simulator, the start and push of two short runs, and the path that they should take."""
    rng = np.random.default_rng(0)
    return Simulator("lstm", 16, 0), *(rng.standard_normal(shape) for shape in ((2, 2), (5, 2), (6, 2, 2)))


def test_gradients_through_the_solver_are_those_of_differences(case):
    simulator, start, push, target = case

    def loss():
        return fg.mse(simulator.run(start, push), target)[0]

    owners = simulator.layer.params, simulator.head.params
    expected = *(in_params(params, loss) for params in owners), differences(loss, start)
    _, d_path = fg.mse(simulator.run(start, push, recorded=True), target)
    for found, value in zip(simulator.backward(d_path), expected, strict=True):
        assert_close(found, value)


def test_tangents_are_those_of_differences(case):
    simulator, start, push, _ = case
    rng, params, size = np.random.default_rng(1), simulator.layer.params, 1e-6
    direction, start_direction, flat = rng.standard_normal(params.flat.size), rng.standard_normal((2, 2)), params.flat
    found = simulator.tangents(start, push, direction, start_direction)
    ends = []
    for sign in (1, -1):
        params.flat = flat + sign * size * direction
        ends.append(simulator.run(start + sign * size * start_direction, push))
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / (2 * size), rtol=1e-6, atol=1e-8)


def test_training_through_the_solver_pays(output_of, monkeypatch):
    """And says what it does meanwhile, from the first compilation on."""
    told = []
    for module in (neural_closure, _program):
        monkeypatch.setattr(module, "warn", told.append)
    before = len(neural_closure.simulate.signatures)
    output = output_of(neural_closure)
    assert len(neural_closure.simulate.signatures) <= max(before, 2)  # all compiled where it is said
    first, *names = dict.fromkeys(line.split(":")[0] for line in told)
    assert names == ["one step at a time", "through the solver"]
    assert first.startswith("compiling")
    rows = "physics alone", "one step at a time", "through the solver"
    alone, taught, ours = (float(re.search(rf"^  {row}.* (\S+)$", output, re.MULTILINE)[1]) for row in rows)
    assert ours < 0.8 * taught
    assert taught < 0.5 * alone
    assert float(re.search("apart (.*)", output)[1]) < 1e-10
