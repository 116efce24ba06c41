"""Layers and models from PyTorch and to it: the same parameters to the last bit, the same outputs and gradients."""

import numpy as np
import pytest
from cases import split
from complaints import complaint
from kernel_tools import run_python

import fastgate as fg

EPS = {"float32": np.finfo(np.float32).eps, "float64": np.finfo(np.float64).eps}
B, T = 3, 6


@pytest.fixture
def nn(torch):
    torch.manual_seed(0)
    return torch.nn


def close(found, expected, dtype):
    """To some roundings of the largest entry: in float64 far below 1e-12."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype == dtype
    assert found.shape == expected.shape
    assert abs(found - expected).max() <= 64 * EPS[dtype] * max(1, abs(expected).max())


def same_bits(torch, module, other):
    """Two modules of PyTorch have the same options and parameters."""
    ours, theirs = module.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert repr(module) == repr(other)


def draw(shape, dtype="float64"):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


# ------------------------------------------------------------------------------------------------------------- layers

RECURRENT = {
    "lstm": ("LSTM", {}),
    "lstm_stack": ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.25}),
    "lstm_no_bias": ("LSTM", {"bias": False, "num_layers": 3}),
    "lstm_projected": ("LSTM", {"proj_size": 3, "num_layers": 2, "bidirectional": True}),
    "gru": ("GRU", {"bidirectional": True}),
    "gru_stack": ("GRU", {"num_layers": 2, "batch_first": True}),
    "rnn": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu", "num_layers": 2, "dropout": 0.5, "bias": False}),
}
recurrent = pytest.mark.parametrize(("kind", "options"), RECURRENT.values(), ids=RECURRENT)


@recurrent
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_recurrent_layers(torch, nn, kind, options, dtype):
    module = getattr(nn, kind)(4, 5, **options, dtype=getattr(torch, dtype)).eval()
    layer = fg.from_torch(module)
    back = fg.to_torch(layer)
    same_bits(torch, back, module)
    assert not back.training
    x = draw((B, T, 4) if layer.batch_first else (T, B, 4), dtype)
    with torch.no_grad():
        expected = [module(torch.from_numpy(x)), back(torch.from_numpy(x))]
    y, state = layer(x)
    for their_y, their_state in expected:
        close(y, their_y, dtype)
        for own, theirs in zip(split(state), split(their_state), strict=True):
            close(own, theirs, dtype)


@recurrent
def test_state_dicts_tell_what_they_can(nn, kind, options):
    layer = fg.from_torch(getattr(nn, kind)(4, 5, **options))
    said = {"batch_first": layer.batch_first, "dropout": layer.dropout}
    said |= {"nonlinearity": layer.nonlinearity} if kind == "RNN" else {}
    arrays = fg.to_torch(layer, as_state_dict=True)
    twin = fg.from_torch({"model": {"rnn": arrays}, "epoch": 3}, part="model.rnn", **said)
    assert twin.config() == layer.config()
    np.testing.assert_array_equal(twin.params.flat, layer.params.flat)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_cells(torch, nn, kind):
    cell = getattr(nn, f"{kind}Cell")(4, 5, dtype=torch.float64)
    x, h = draw((2, B, 4)), draw((B, 5))
    state = (torch.from_numpy(h), torch.zeros(B, 5, dtype=torch.float64)) if kind == "LSTM" else torch.from_numpy(h)
    layer = fg.from_torch(cell)
    own = (h[None], np.zeros((1, B, 5))) if kind == "LSTM" else h[None]
    for step in x:
        state = cell(torch.from_numpy(step), state)
        y, own = layer.step(step, own)
        close(y, (state[0] if kind == "LSTM" else state).detach(), "float64")
    twin = fg.from_torch(cell.state_dict(), **({"nonlinearity": "tanh"} if kind == "RNN" else {}))
    assert twin.config() == layer.config()


def test_one_bias_becomes_two(torch):
    for make in (fg.LSTM, fg.GRU, fg.RNN):
        layer = make(4, 5, 2, bias="single", bidirectional=True, dtype="float64", seed=0)
        layer.params.flat = draw(layer.params.flat.size)
        x, module = draw((B, T, 4)), fg.to_torch(layer)
        close(layer(x)[0], module(torch.from_numpy(x))[0].detach(), "float64")
        close(fg.from_torch(module)(x)[0], layer(x)[0], "float64")


# ------------------------------------------------------------------------------------------------------------- models

TOKENS = np.random.default_rng(1).integers(0, 9, (B, T))


def tagger(options):
    rnn = fg.LSTM(5, 4, 2, bidirectional=True, dropout=0.5, **options)
    table = fg.Embedding(9, 5, padding_idx=2, **options)
    norm = fg.LayerNorm(8, 1e-3, dtype=options["dtype"])
    return fg.Sequential(table, rnn, norm, fg.Dropout(0.5), fg.Linear(8, 3, **options))


def classifier(options):
    head = fg.Sequential(fg.Linear(8, 6, bias=False, **options), fg.Activation("relu"), fg.Linear(6, 2, **options))
    body = fg.Sequential(fg.Embedding(9, 5, **options), fg.GRU(5, 4, bidirectional=True, **options))
    return fg.Sequential(body, fg.FinalState(), head, fg.Activation("log_softmax"))


def all_states(options):
    rnn = fg.RNN(5, 4, 2, **options, batch_first=False)
    return fg.Sequential(rnn, fg.FinalState(all_layers=True), fg.Linear(4, 2, **options))


def functions(options):
    names = ["tanh", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "softmax"]
    layers = [layer for name in names for layer in (fg.Linear(5, 5, **options), fg.Activation(name))]
    return fg.Sequential(*layers)


MODELS = {
    "tagger": (tagger, TOKENS),
    "classifier": (classifier, TOKENS),
    "all_states": (all_states, draw((T, B, 5))),
    "functions": (functions, 9 * draw((B, 5))),
}


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize(("make", "x"), MODELS.values(), ids=MODELS)
def test_models(torch, make, x, dtype):
    model = make({"dtype": dtype, "seed": 0})
    x = x if x is TOKENS else x.astype(dtype)
    module = fg.to_torch(model)
    assert [name for name, _ in module.named_parameters()] == list(model.params)
    y, tape = model.forward(x, training=False)
    their_y = module(torch.from_numpy(x))
    close(y, their_y.detach(), dtype)
    dy = draw(y.shape, dtype)
    (their_y * torch.from_numpy(dy)).sum().backward()
    for name, gradient in model.backward(tape, dy).params.items():
        close(gradient, module.get_parameter(name).grad, dtype)
    twin = fg.from_torch(module)
    assert repr(twin) == repr(model)
    np.testing.assert_array_equal(twin(x), model(x))
    same_bits(torch, fg.to_torch(twin), module)


def own_classes(nn):
    class Last(nn.Module):
        def forward(self, pair):
            return pair[0][:, -1]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.rnn = nn.Linear(5, 2), nn.LSTM(4, 5, batch_first=True)

        def forward(self, x):
            return self.head(self.rnn(x)[0])

    return Last, Net


def test_modules_with_code_of_their_own(torch, nn):
    Last, Net = own_classes(nn)
    x = draw((B, T, 4), "float32")
    module = nn.Sequential(nn.Sequential(nn.Identity(), nn.GRU(4, 5, batch_first=True)), Last(), nn.Linear(5, 2))
    model = fg.from_torch(module, custom={Last: lambda module: fg.FinalState()})
    assert list(model.params) == list(module.state_dict())
    close(model(x), module(torch.from_numpy(x)).detach(), "float32")

    net, into = Net(), fg.Sequential(fg.LSTM(4, 5), fg.Linear(5, 2))
    names = {"rnn": "0", "head": "1"}
    for source in (net, net.state_dict()):
        into.params.flat = np.zeros(into.params.flat.size)
        assert fg.from_torch(source, into=into, names=names) is into
        close(into(x), net(torch.from_numpy(x)).detach(), "float32")
    assert repr(fg.from_torch(net, part="rnn")) == "LSTM(4, 5)"
    for wrong in ({"rnn": "0"}, {"rnn": "1", "head": "0"}, {"rnn": "0", "head": "0"}, {"rnn": "0", "tail": "1"}):
        with pytest.raises(ValueError, match=r"^(state_dict|names)"):
            fg.from_torch(net, into=into, names=wrong)


def test_numbers_of_16_bits_are_taken_exactly(torch, nn):
    module = nn.LSTM(3, 4)
    for half in (module.to(torch.bfloat16), nn.LSTM(3, 4).half()):
        layer = fg.from_torch(half)
        same_bits(torch, fg.to_torch(layer).to(half.weight_ih_l0.dtype), half)
        assert layer.dtype == np.float32
    state_dict = nn.GRU(3, 4).state_dict()
    assert fg.from_torch(state_dict, batch_first=True, dtype="float64").dtype == np.float64
    state_dict["bias_hh_l0"] = state_dict["bias_hh_l0"].double()
    with complaint(ValueError, "dtype", "state_dict, which holds both"):
        fg.from_torch(state_dict, batch_first=True)


def test_nothing_but_the_result_changes(torch, nn):
    before = torch.get_rng_state()
    layer = fg.LSTM(3, 4, seed=0)
    module = fg.to_torch(layer)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        module.weight_ih_l0.zero_()
    assert layer.params["weight_ih_l0"].any()
    taken = fg.from_torch(nn.Linear(3, 4).requires_grad_(False))
    assert taken.params["bias"].flags.owndata is False  # a view of the layer's own vector
    fg.to_torch(layer, as_state_dict=True)["weight_hh_l0"][...] = 0
    assert layer.params["weight_hh_l0"].any()


def test_without_pytorch(tmp_path):
    code = """
    import sys; sys.modules["torch"] = None
    import fastgate as fg, numpy as np
    layer = fg.GRU(3, 4, 2, seed=0)
    for ending in (".pt", ".safetensors"):
        path = sys.argv[1] + ending
        fg.to_torch(layer, path)
        assert (fg.from_torch(path, batch_first=True).params.flat == layer.params.flat).all()
    assert list(fg.to_torch(layer)) == list(layer.params)
    """
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    run_python(code, tmp_path / "gru")
