"""Layers and data for the tests, made from seeds."""

import fastgate as fg

CELLS = {
    "lstm": (fg.LSTM, {}),
    "gru": (fg.GRU, {}),
    "gru_reset_before": (fg.GRU, {"reset_after": False}),
    "gru_reset_carry": (fg.GRU, {"reset_after": False, "reset_carry": True}),
    "rnn_tanh": (fg.RNN, {}),
    "rnn_relu": (fg.RNN, {"nonlinearity": "relu"}),
}


def make(cell, I, H, **options):
    """A layer in float64, of seed 0, unless the options say otherwise."""
    kind, fixed = CELLS[cell]
    return kind(I, H, **({"dtype": "float64", "seed": 0} | fixed | options))


def in_double(layer, cell, **options):
    """The same layer with the same weights in float64."""
    twin = make(cell, layer.input_size, layer.hidden_size, **options)
    twin.params.flat = layer.params.flat
    return twin


def draw(rng, layer, B, T):
    """x in the layer's layout, and a start (L*D,B,H) as a list: h, or h and c, distinct and nowhere zero."""
    shape = (B, T) if layer.batch_first else (T, B)
    x = rng.standard_normal((*shape, layer.input_size)).astype(layer.dtype)
    return x, draw_states(rng, layer, B)


def draw_states(rng, layer, B):
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.hidden_size]
    if isinstance(layer, fg.LSTM):
        sizes.insert(0, layer.proj_size or layer.hidden_size)
    return [rng.uniform(-0.9, 0.9, (rows, B, size)).astype(layer.dtype) for size in sizes]


def join(parts):
    """A list of states as the layers take it."""
    return tuple(parts) if len(parts) == 2 else parts[0]


def split(state):
    """A layer's state as a list."""
    return list(state) if isinstance(state, tuple) else [state]
