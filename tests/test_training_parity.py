"""A whole training loop beside PyTorch's: embedding, two recurrent layers, linear layer, loss, clipping, Adam."""

import numpy as np
import pytest
from cases import make

import fastgate as fg

STEPS, B, T, CLASSES, FEATURES, UNITS = 50, 8, 12, 11, 6, 17
RATE, MAX_NORM = 1e-2, 0.25

# Both sides are float64 and differ by some 1e-15; the rest is room for rounding that grows with the steps.
TOLERANCE = 1e-10


def layers_for(cell):
    return {
        "embedding": fg.Embedding(CLASSES, FEATURES, dtype="float64", seed=0),
        "recurrent": make(cell, FEATURES, UNITS, num_layers=2, seed=1),
        "linear": fg.Linear(UNITS, CLASSES, dtype="float64", seed=2),
    }


def batches():
    """Sequences that count, from a random number on: something to learn."""
    rng = np.random.default_rng(3)
    for _ in range(STEPS):
        numbers = (rng.integers(0, CLASSES, (B, 1)) + np.arange(T + 1)) % CLASSES
        yield numbers[:, :-1], numbers[:, 1:]


def train(layers):
    """Loss and gradient norm at every step."""
    embedding, recurrent, linear = layers.values()
    params = [layer.params for layer in layers.values()]
    optimizer = fg.Adam(RATE)
    for x, target in batches():
        vectors, embedding_tape = embedding.forward(x)
        y, _, recurrent_tape = recurrent.forward(vectors)
        logits, linear_tape = linear.forward(y)
        loss, dlogits = fg.cross_entropy(logits, target)
        of_linear = linear.backward(linear_tape, dlogits)
        of_recurrent = recurrent.backward(recurrent_tape, of_linear.x)
        of_embedding = embedding.backward(embedding_tape, of_recurrent.x)
        gradients = [of_embedding.params, of_recurrent.params, of_linear.params]
        norm = fg.clip_gradient_norm(gradients, MAX_NORM)
        optimizer.step(params, gradients)
        yield loss, norm


def train_torch(torch, kind, layers):
    double = {"dtype": torch.float64}
    modules = {
        "embedding": torch.nn.Embedding(CLASSES, FEATURES, **double),
        "recurrent": getattr(torch.nn, kind)(FEATURES, UNITS, 2, batch_first=True, **double),
        "linear": torch.nn.Linear(UNITS, CLASSES, **double),
    }
    for name, module in modules.items():
        module.load_state_dict({key: torch.tensor(array) for key, array in layers[name].params.items()})
    params = [parameter for module in modules.values() for parameter in module.parameters()]
    optimizer = torch.optim.Adam(params, RATE)
    for x, target in batches():
        optimizer.zero_grad()
        y, _ = modules["recurrent"](modules["embedding"](torch.from_numpy(x)))
        logits = modules["linear"](y)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, CLASSES), torch.from_numpy(target).reshape(-1))
        loss.backward()
        # Not clip_grad_norm_, which divides by the norm plus 1e-6.
        norm = float(torch.sqrt(sum((parameter.grad**2).sum() for parameter in params)))
        for parameter in params:
            parameter.grad *= min(1.0, MAX_NORM / norm)
        optimizer.step()
        yield loss.item(), norm


@pytest.mark.parametrize(("cell", "kind"), [("lstm", "LSTM"), ("gru", "GRU")], ids=["lstm", "gru"])
def test_losses_are_theirs_at_every_step(torch, cell, kind):
    theirs = np.array(list(train_torch(torch, kind, layers_for(cell))))
    ours = np.array(list(train(layers_for(cell))))
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    losses, norms = ours.T
    assert losses[-1] < losses[0] - 0.2  # it learns
    assert (norms > MAX_NORM).any()  # and clipping acts at some steps, not at all
    assert (norms < MAX_NORM).any()
