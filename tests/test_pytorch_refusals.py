"""Modules that fastgate does not have, and layers that PyTorch does not: refused by name, never nearly the same."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg


def shared(nn):
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    return module


def hooked(nn):
    module = nn.Linear(3, 3)
    module.register_forward_hook(lambda *_: None)
    return module


REFUSED = {
    "unknown": (lambda nn: nn.Conv1d(3, 4, 5), "Conv1d"),
    "nested": (lambda nn: nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3))), "'1.1'"),
    "subclass": (lambda nn: type("LSTM", (nn.LSTM,), {})(3, 4), "no subclass"),
    "parametrized": (lambda nn: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), "ParametrizedLinear"),
    "hooked": (hooked, "hooks"),
    "shared": (shared, "'1.weight'"),
    "pair": (lambda nn: nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2)), "the pair (output, state)"),
    "pair_nested": (lambda nn: nn.Sequential(nn.Sequential(nn.GRU(3, 4)), nn.Sequential(nn.ReLU())), "Sequential"),
    "cell": (lambda nn: nn.Sequential(nn.GRUCell(3, 4)), "one step"),
    "max_norm": (lambda nn: nn.Embedding(3, 4, max_norm=1.0), "max_norm"),
    "frequency": (lambda nn: nn.Embedding(3, 4, scale_grad_by_freq=True), "scale_grad_by_freq"),
    "norm_axes": (lambda nn: nn.LayerNorm((3, 4)), "one axis"),
    "norm_bias": (lambda nn: nn.LayerNorm(3, bias=False), "bias"),
    "softmax": (lambda nn: nn.Softmax(1), "dim=-1"),
    "gelu": (lambda nn: nn.GELU("tanh"), "approximate"),
    "softplus": (lambda nn: nn.Softplus(threshold=5), "threshold"),
    "leaky": (lambda nn: nn.LeakyReLU(0.2), "negative_slope"),
}


@pytest.mark.parametrize(("make", "piece"), REFUSED.values(), ids=REFUSED)
def test_refused_modules(torch, make, piece):
    with pytest.raises(ValueError, match=r"^module") as caught:
        fg.from_torch(make(torch.nn))
    assert piece in str(caught.value)


LAYERS = {
    "reset_before": (lambda: fg.GRU(3, 4, reset_after=False), ValueError, "reset_after=True"),
    "peepholes": (lambda: fg.LSTM(3, 4, peepholes=True), ValueError, "peepholes=False"),
    "recurrent_dropout": (lambda: fg.GRU(3, 4, recurrent_dropout=0.5), ValueError, "recurrent_dropout=0.0"),
    "clipped": (lambda: fg.GRU(3, 4, clip=3.0), ValueError, "clip=None"),
    "quantized": (lambda: fg.LSTM(3, 4).quantized("int8"), TypeError, "Quantized"),
    "in_a_model": (lambda: fg.Sequential(fg.Linear(3, 3), fg.GRU(3, 4, reset_after=False)), ValueError, "layer 1"),
    "own": (lambda: type("Own", (fg.Linear,), {})(3, 4), TypeError, "Own"),
    "nothing": (lambda: None, TypeError, "NoneType"),
}


@pytest.mark.parametrize(("make", "kind", "piece"), LAYERS.values(), ids=LAYERS)
def test_refused_layers(tmp_path, make, kind, piece):
    for options in ({}, {"as_state_dict": True}, {"path": tmp_path / "file.pt"}):
        with pytest.raises(kind, match=r"^layer") as caught:
            fg.to_torch(make(), **options)
        assert piece in str(caught.value)
    assert not list(tmp_path.iterdir())
    with complaint(ValueError, "path", ".bin"):
        fg.to_torch(fg.Linear(3, 4), tmp_path / "file.bin")


def test_refused_padding():
    for value, kind in ((4, ValueError), (-1, ValueError), (1.0, TypeError)):
        with complaint(kind, "padding_idx", f"got {value!r}"):
            fg.Embedding(4, 3, padding_idx=value)
    table = fg.Embedding(4, 3, padding_idx=1, seed=0)
    assert np.flatnonzero(~table.params["weight"].any(axis=1)).tolist() == [1]
