"""Small trainings for tests, each of another kind of data."""

import numpy as np

import fastgate as fg

STEPS = 11  # of each kind, in all


class Stop(fg.Callback):
    """Ctrl-C after some step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, run):
        if run.history.steps == self.step:
            raise KeyboardInterrupt


class Watch(fg.Callback):
    """Keeps the loss of every step."""

    def __init__(self):
        self.losses = []

    def on_step_end(self, run):
        self.losses.append(run.loss)


def classifier(seed=0, outputs=1):
    """Sequences of 3 features to one output for each, with dropout at two places."""
    lstm = fg.LSTM(3, 5, 2, dropout=0.3, seed=seed)
    return fg.Sequential(lstm, fg.FinalState(), fg.Dropout(0.2, seed=1), fg.Linear(5, outputs, seed=2))


def tagger(seed=0, **options):
    """Integers to one output for each step."""
    return fg.Sequential(fg.Embedding(7, 3, seed=seed), fg.LSTM(3, 5, seed=1, **options), fg.Linear(5, 7, seed=2))


def arrays(n=10, T=6):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, T, 3)).astype(np.float32)
    return x, x.sum((1, 2))


def ragged(n=10):
    rng = np.random.default_rng(1)
    x = [rng.integers(0, 7, rng.integers(1, 7)) for _ in range(n)]
    return x, [(own * 3) % 7 for own in x]


def generated(epoch):
    rng = np.random.default_rng((3, epoch))
    for _ in range(4):
        x = rng.standard_normal((3, rng.integers(2, 5), 3)).astype(np.float32)
        yield x, x.sum((1, 2))


def stream(T=50):
    codes = np.random.default_rng(2).integers(0, 7, T + 1)
    return codes[:-1], codes[1:]


def kinds():
    """Name -> model, data and options of `fit`: 11 or 12 steps, three epochs."""
    common = {"optimizer": fg.Adam(1e-2), "epochs": 3, "batch_size": 3, "clip_norm": 1.0}
    return {
        "arrays": (classifier(), arrays(), common | {"loss": "mse", "validation": 0.2, "metrics": ["r2"]}),
        "ragged": (tagger(), ragged(), common | {"loss": "cross_entropy", "metrics": ["accuracy", "perplexity"]}),
        "callable": (classifier(), (generated,), common | {"loss": "mse", "early_stopping": 1}),
        "stream": (tagger(), stream(), common | {"loss": "cross_entropy", "stateful": 5, "validation": stream(21)}),
    }


def everything(model, optimizer, history):
    """All bits of a training that must be equal however it was interrupted."""
    state = {name: np.asarray(value).tobytes() for name, value in optimizer.state().items()}
    return model.params.flat.tobytes(), state, dict(history.columns), history.steps, history.stopped, history.best_epoch
