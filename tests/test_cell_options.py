"""Cells with options of their own: activations, a clip, coupled gates, peepholes, a projection.

Values against the plain oracle, every entry of every gradient against central differences, and the promises about bits.
"""

import numpy as np
import pytest
import reference
from cases import CELLS, draw, draw_states, join, make, split
from test_gradients import ATOL, RTOL, Case, Problem

import fastgate as fg
from fastgate.kernels.cpu import sharing

# Smooth where the points of these tests lie, and different for each gate, so that none can take another's place.
BENT = (("hard_sigmoid", 0.3, 0.45), ("scaled_tanh", 1.3, -0.7), "softsign")
VARIANTS = {
    "activations": ("lstm", {"activations": BENT}),
    "clip": ("lstm", {"clip": 0.4}),
    "coupled": ("lstm", {"coupled": True}),
    "peepholes": ("lstm", {"peepholes": True}),
    "projected": ("lstm", {"proj_size": 3}),
    "lstm_all": ("lstm", {"activations": BENT, "clip": 1.1, "coupled": True, "peepholes": True, "proj_size": 2}),
    "peepholes_projected": ("lstm", {"peepholes": True, "proj_size": 4, "clip": 0.7}),
    "gru": ("gru", {"activations": (("affine", 0.4, 0.1), "softplus"), "clip": 0.9}),
    "gru_reset_before": ("gru_reset_before", {"activations": ("softsign", ("elu", 0.8)), "clip": 0.9}),
    "rnn": ("rnn_tanh", {"nonlinearity": ("leaky_relu", 0.2), "clip": 0.8}),
}
SHAPES = {"two_layers": {"num_layers": 2}, "both_ways": {"bidirectional": True, "num_layers": 2, "bias": "single"}}
LENGTHS = [2, 0, 4, 1]

variants = pytest.mark.parametrize("variant", VARIANTS)


def made(variant, I, H, **options):
    cell, own = VARIANTS[variant]
    layer = make(cell, I, H, **own, **options)
    rng = np.random.default_rng(1)  # other weights than the usual small ones: clips and kinks shall matter
    layer.params.flat = rng.uniform(-0.9, 0.9, layer.params.flat.size)
    return layer


def plan_of(layer):
    activations = layer.activations if hasattr(layer, "activations") else (layer.nonlinearity,)
    return reference.Plan(activations, layer.clip, coupled=getattr(layer, "coupled", False))


@variants
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_values_beside_the_oracle(variant, options):
    layer = made(variant, 3, 5, **options)
    x, start = draw(np.random.default_rng(2), layer, 4, 6)
    lengths = [6, 0, 4, 1]
    y, end = layer(x, join(start), lengths=lengths)
    expected = reference.forward(
        VARIANTS[variant][0], layer.params, x, start, lengths, num_layers=layer.num_layers,
        directions=1 + layer.bidirectional, plan=(plan_of(layer),),
    )  # fmt: skip
    for found, part in zip([y, *split(end)], [expected[0], *expected[1]], strict=True):
        np.testing.assert_allclose(found, part, rtol=1e-12, atol=1e-13)


class Other(Problem):
    """The problem of `test_gradients` for one of these layers."""

    def __init__(self, variant, B, T, I, H, case):
        rng = np.random.default_rng([B, T, I, H])
        self.case, self.layer = case, made(variant, I, H, **case.options)
        self.x, self.start = draw(rng, self.layer, B, T)
        self.dstate = draw_states(rng, self.layer, B)
        y, _, self.tape = self.forward()
        self.dy = rng.standard_normal(y.shape)


@variants
@pytest.mark.parametrize(
    ("H", "case"),
    [(5, Case({"num_layers": 2, "dropout": 0.4}, LENGTHS)), (17, Case({"bidirectional": True}))],
    ids=["ragged", "wide"],
)
def test_every_entry_of_every_gradient(variant, H, case):
    problem = Other(variant, 4, 4, 2, H, case)
    inputs, params = problem.gradients()
    for name, array in {"x": problem.x, **dict(zip(("h0", "c0"), problem.start, strict=False))}.items():
        np.testing.assert_allclose(inputs[name], problem.differences(array), RTOL, ATOL, err_msg=name)
    np.testing.assert_allclose(params.flat, problem.parameter_differences(), RTOL, ATOL, err_msg=str(params))
