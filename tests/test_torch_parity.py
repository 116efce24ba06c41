"""Parity with PyTorch: outputs, final states and every gradient."""

import numpy as np
import pytest
from cases import draw, draw_states, in_double, join, make, split

CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}

FLOAT64 = {"rtol": 1e-10, "atol": 1e-10}  # both are float64 throughout, with sums in another order

OPTIONS = {
    "plain": {},
    "two_layers": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "two_layers_bidirectional": {"num_layers": 2, "bidirectional": True},
    "no_bias": {"bias": False},
    "time_first": {"batch_first": False},
}
LENGTHS = {"full": None, "ragged": [4, 1, 6, 6, 3]}  # PyTorch knows no length 0

cells = pytest.mark.parametrize("cell", CELLS)


def as_torch(torch, cell, layer):
    """The same layer in PyTorch, where parameters have the same names."""
    options = {"nonlinearity": layer.nonlinearity} if cell.startswith("rnn") else {}
    twin = getattr(torch.nn, CELLS[cell])(
        layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, batch_first=layer.batch_first,
        bidirectional=layer.bidirectional, dtype=getattr(torch, layer.dtype.name), **options,
    )  # fmt: skip
    twin.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in layer.params.items()})
    return twin


def run_torch(torch, twin, x, start, dy, d_end, lengths):
    """y, final states, gradients in x, the start and the parameters: a flat list of arrays"""
    x = torch.tensor(x, requires_grad=True)
    start = [torch.tensor(part, requires_grad=True) for part in start]
    if lengths is None:
        y, end = twin(x, join(start))
    else:
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=twin.batch_first, enforce_sorted=False)
        y, end = twin(packed, join(start))
        steps = x.shape[1] if twin.batch_first else x.shape[0]
        y, _ = rnn.pad_packed_sequence(y, batch_first=twin.batch_first, total_length=steps)
    end = split(end)
    loss = (y * torch.tensor(dy)).sum() + sum((e * torch.tensor(d)).sum() for e, d in zip(end, d_end, strict=True))
    loss.backward()
    found = {"y": y, **states("end", end), "dx": x.grad, **states("d_start", [part.grad for part in start])}
    found |= {name: parameter.grad for name, parameter in twin.named_parameters()}
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def run(layer, x, start, dy, d_end, lengths):
    y, end, tape = layer.forward(x, join(start), lengths=lengths)
    gradients = layer.backward(tape, dy, join(d_end))
    found = {"y": y, **states("end", split(end)), "dx": gradients.x, **states("d_start", split(gradients.state))}
    return found | dict(gradients.params)


def states(name, parts):
    return {f"{name}[{i}]": part for i, part in enumerate(parts)}


def draw_all(layer, B, T):
    rng = np.random.default_rng([B, T])
    x, start = draw(rng, layer, B, T)
    directions = 1 + layer.bidirectional
    dy = rng.standard_normal((*x.shape[:2], directions * layer.hidden_size)).astype(layer.dtype)
    return x, start, dy, draw_states(rng, layer, B)


@cells
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_float64(torch, cell, options, lengths):
    layer = make(cell, 3, 17, **options)
    data = draw_all(layer, 5, 6)
    expected = run_torch(torch, as_torch(torch, cell, layer), *data, lengths)
    found = run(layer, *data, lengths)
    assert set(found) == set(expected)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], **FLOAT64, err_msg=name)


@cells
def test_unbatched_float64(torch, cell):
    layer = make(cell, 3, 5, num_layers=2)
    x, start, dy, d_end = draw_all(layer, 1, 6)
    data = x[0], [part[:, 0] for part in start], dy[0], [part[:, 0] for part in d_end]
    expected = run_torch(torch, as_torch(torch, cell, layer), *data, None)
    for name, array in run(layer, *data, None).items():
        np.testing.assert_allclose(array, expected[name], **FLOAT64, err_msg=name)


def check_errors(ours, theirs, truth):
    """Ours may be four times theirs, and four units of rounding where theirs is nearly nothing."""
    for name, exact in truth.items():
        error, their_error = abs(ours[name] - exact).max(), abs(theirs[name] - exact).max()
        allowed = 4 * their_error + 4 * np.finfo(np.float32).eps * abs(exact).max()
        assert error <= allowed, f"{name}: {error:.1e}, PyTorch {their_error:.1e}"


@cells
@pytest.mark.parametrize("H", [16, 33])
def test_float32_is_as_exact_as_theirs(torch, cell, H):
    options = {"num_layers": 2, "bidirectional": True}
    layer = make(cell, 7, H, dtype="float32", **options)
    data = draw_all(layer, 9, 20)
    ours, theirs = run(layer, *data, None), run_torch(torch, as_torch(torch, cell, layer), *data, None)
    check_errors(ours, theirs, run(in_double(layer, cell, **options), *data, None))


@cells
def test_float32_stays_exact_over_many_rows(torch, cell):
    # A weight's gradient is a sum over all B*T rows, here of one sign: its rounding must not grow with their number.
    layer = make(cell, 3, 16, dtype="float32")
    x, start, dy, d_end = draw_all(layer, 64, 500)
    data = x + np.float32(0.5), start, abs(dy), d_end
    ours, theirs = run(layer, *data, None), run_torch(torch, as_torch(torch, cell, layer), *data, None)
    check_errors(ours, theirs, run(in_double(layer, cell), *data, None))
