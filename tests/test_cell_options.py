"""Cells with options of their own: activations, a clip, coupled gates, peepholes, a projection.

Values against the plain oracle, every entry of every gradient against central differences, and the promises about bits.
"""

import pickle

import numpy as np
import pytest
import reference
from cases import draw, draw_states, join, make, split
from complaints import complaint
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


def everything(layer, lengths=None, recompute=None):
    """All results of a forward and a backward pass, as bytes."""
    rng = np.random.default_rng(3)
    x, start = draw(rng, layer, 7, 6)
    y, end, tape = layer.forward(x, join(start), lengths=lengths, recompute=recompute)
    gradients = layer.backward(tape, np.cos(y), join(draw_states(rng, layer, 7)))
    arrays = [y, *split(end), layer(x, join(start), lengths=lengths)[0], gradients.x, *split(gradients.state)]
    return [array.tobytes() for array in (*arrays, gradients.params.flat)]


@variants
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shared", ["sequences", "units"])
def test_bits_do_not_depend_on_threads_nor_on_recomputation(variant, dtype, shared, monkeypatch):
    layer = made(variant, 3, 37, bidirectional=True, dtype=dtype)
    lengths = [4, 6, 0, 1, 6, 3, 2]
    before, expected = fg.get_num_threads(), everything(layer, lengths)
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(sharing, "FLOPS_PER_TURN", 1.0)
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", {"sequences": 0, "units": 7}[shared])
    try:
        for threads in (1, 3):
            fg.set_num_threads(threads)
            assert everything(made(variant, 3, 37, bidirectional=True, dtype=dtype), lengths) == expected
    finally:
        fg.set_num_threads(before)
    assert everything(layer, lengths, recompute=2) == expected


@variants
def test_stepping_is_the_whole_sequence(variant):
    layer = made(variant, 3, 19, num_layers=2, dtype="float32")
    x, start = draw(np.random.default_rng(4), layer, 3, 5)
    y, end = layer(x, join(start))
    state = join(start)
    for t in range(5):
        y_t, state = layer.step(x[:, t], state)
        np.testing.assert_array_equal(y_t, y[:, t])
    for part, expected in zip(split(state), split(end), strict=True):
        np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(layer.step(x[0, 0])[0], layer(x[0])[0][0])  # unbatched, from zeros


@variants
def test_a_layer_is_made_again_from_its_configuration(variant, tmp_path):
    pytest.importorskip("safetensors")
    layer = made(variant, 3, 5, bidirectional=True)
    fg.save(tmp_path / "layer.safetensors", layer)
    for twin in (fg.load(tmp_path / "layer.safetensors"), pickle.loads(pickle.dumps(layer)), eval_of(layer)):
        assert repr(twin) == repr(layer)
        assert twin.config() | {"seed": 0} == layer.config() | {"seed": 0}
        assert twin._cell is layer._cell
        twin.params.flat = layer.params.flat
        assert everything(twin) == everything(layer)


def eval_of(layer):
    return eval(repr(layer), vars(fg).copy())


@pytest.mark.parametrize("variant", ["activations", "coupled", "peepholes", "gru", "rnn"])
def test_quantized_is_the_layer_with_rounded_weights(variant):
    layer = made(variant, 3, 21, dtype="float32")
    small = layer.quantized("bfloat16")
    layer.params.flat = small.params.flat
    x, start = draw(np.random.default_rng(5), layer, 3, 5)
    np.testing.assert_array_equal(small(x, join(start))[0], layer(x, join(start))[0])


def test_a_projection_is_not_quantized():
    with complaint(ValueError, "quantized", "without a projection", "proj_size=3"):
        fg.LSTM(3, 5, proj_size=3).quantized("int8")


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2, "bias": False}], ids=["one", "more"])
@pytest.mark.parametrize(("H", "P"), [(5, 3), (33, 17)])
def test_projection_is_that_of_pytorch(torch, H, P, options):
    layer = make("lstm", 3, H, proj_size=P, **options)
    plain = {name: value for name, value in options.items() if name != "bias"}
    twin = torch.nn.LSTM(
        3, H, proj_size=P, batch_first=True, dtype=torch.float64, bias=options.get("bias", True), **plain
    )
    assert {name: tuple(value.shape) for name, value in twin.named_parameters()} == {
        name: array.shape for name, array in layer.params.items()
    }
    twin.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in layer.params.items()})
    rng = np.random.default_rng(6)
    x, start = draw(rng, layer, 4, 5)
    own = [torch.tensor(array, requires_grad=True) for array in (x, *start)]
    y, end = twin(own[0], tuple(own[1:]))
    dy, d_end = rng.standard_normal(y.shape), draw_states(rng, layer, 4)
    loss = (y * torch.tensor(dy)).sum() + sum((e * torch.tensor(d)).sum() for e, d in zip(end, d_end, strict=True))
    loss.backward()
    found, found_end, tape = layer.forward(x, join(start))
    gradients = layer.backward(tape, dy, join(d_end))
    pairs = [(found, y), *zip(found_end, end, strict=True)]
    pairs += zip([gradients.x, *gradients.state], [tensor.grad for tensor in own], strict=True)
    pairs += [(gradients.params[name], value.grad) for name, value in twin.named_parameters()]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_a_projection_inside_a_model():
    """What follows has the size of h, and the final state's gradient leaves c alone."""
    model = fg.Sequential(
        fg.LSTM(2, 5, proj_size=3, bidirectional=True, seed=0), fg.FinalState(), fg.Linear(6, 2, seed=0)
    )
    x = np.random.default_rng(7).standard_normal((3, 4, 2))
    y, tape = model.forward(x)
    assert y.shape == (3, 2)
    assert model.backward(tape, np.ones_like(y)).x.shape == x.shape
    encoder = fg.Sequential(fg.LSTM(2, 5, proj_size=3))
    with complaint(ValueError, "decoder layer 0 (LSTM)", "(1, batch, 3), c of 5", "(1, batch, 5)"):
        fg.EncoderDecoder(encoder, fg.Sequential(fg.LSTM(2, 5)))
    h, c = fg.LSTM(2, 5, num_layers=2, proj_size=3)(x)[1]
    assert (h.shape, c.shape) == ((2, 3, 3), (2, 3, 5))


def test_parameters_have_clear_names_and_sizes():
    layer = fg.LSTM(2, 5, peepholes=True, coupled=True, proj_size=3, bias="single", init="keras", seed=0)
    assert {name: array.shape for name, array in layer.params.items()} == {
        "weight_ih_l0": (15, 2), "weight_hh_l0": (15, 3), "bias_l0": (15,), "weight_hr_l0": (3, 5),
        "peephole_i_l0": (5,), "peephole_o_l0": (5,),
    }  # fmt: skip
    assert not layer.params["peephole_i_l0"].any()
    np.testing.assert_allclose(layer.params["weight_hr_l0"] @ layer.params["weight_hr_l0"].T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize(
    ("make_layer", "options", "kind", "words"),
    [
        (fg.LSTM, {"activations": ("tanh", "tanh")}, ValueError, ("activations", "3 activations")),
        (fg.LSTM, {"activations": "tanh"}, TypeError, ("activations", "3 activations", "got 'tanh'")),
        (fg.LSTM, {"activations": ("tanh", "tanh", "swish")}, ValueError, ("activations[2]", "elu", "got 'swish'")),
        (fg.GRU, {"activations": ("tanh", ("tanh", 1.0))}, ValueError, ("activations[1]", "at most 0 parameters")),
        (fg.GRU, {"activations": ("tanh", ("elu", -0.5))}, ValueError, ("activations[1]", "alpha of at least 0")),
        (fg.RNN, {"nonlinearity": ("scaled_tanh", 0.0)}, ValueError, ("nonlinearity", "alpha other than 0")),
        (fg.RNN, {"nonlinearity": ("elu", np.inf)}, ValueError, ("nonlinearity", "a finite number in float32")),
        (fg.RNN, {"nonlinearity": ("elu", 1e-60)}, ValueError, ("nonlinearity", "a finite number in float32")),
        (fg.RNN, {"nonlinearity": ("elu", "1")}, TypeError, ("nonlinearity", "a number")),
        (fg.RNN, {"nonlinearity": ()}, ValueError, ("nonlinearity", "expected one of", "got ()")),
        (fg.LSTM, {"clip": 0.0}, ValueError, ("clip", "a positive number", "got 0.0")),
        (fg.LSTM, {"clip": True}, TypeError, ("clip", "a number", "got True")),
        (fg.LSTM, {"coupled": 1}, ValueError, ("coupled", "True or False", "got 1")),
        (fg.LSTM, {"peepholes": None}, ValueError, ("peepholes", "True or False")),
        (fg.LSTM, {"proj_size": 5}, ValueError, ("proj_size", "less than hidden_size, which is 5", "got 5")),
        (fg.LSTM, {"proj_size": -1}, ValueError, ("proj_size", "an integer of at least 0", "got -1")),
    ],
    ids=str,
)
def test_wrong_options(make_layer, options, kind, words):
    with complaint(kind, *words):
        make_layer(2, 5, **options)
