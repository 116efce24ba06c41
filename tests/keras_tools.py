"""Models of Keras with weights of any kind, their outputs as arrays, and files that are nearly right."""

import zipfile

import numpy as np

import fastgate as fg

IDS = np.array([[0, 0, 1, 2, 3, 0, 5], [1, 2, 3, 4, 0, 0, 0], [5, 6, 7, 0, 8, 9, 1], [0, 0, 0, 0, 0, 0, 0]])


def drawn(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_weights(model, seed=0):
    """Not those of the initializers, of which biases are zero."""
    model.set_weights([0.5 * drawn(own.shape, seed=seed + n) for n, own in enumerate(model.get_weights())])
    return model


def output(model, x):
    return model(x).detach().cpu().numpy()


def same_weights(model, other):
    """To the last bit."""
    ours, theirs = model.get_weights(), other.get_weights()
    return len(ours) == len(theirs) and all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


def close(found, expected, dtype):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype == dtype
    assert found.shape == expected.shape
    bound = {"float32": 1e-6, "float64": 1e-12}[dtype]
    assert abs(found - expected).max() <= bound * max(1, abs(expected).max())


def parts_of(layer, path):
    """The members of a ``.keras``."""
    fg.to_keras(layer, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def good_parts(path):
    table, lstm = fg.Embedding(7, 3, mask_zero=True, seed=0), fg.LSTM(3, 4, bias="single", bidirectional=True, seed=1)
    rest = fg.MergeDirections("sum"), fg.GRU(4, 2, seed=2), fg.FinalState(), fg.Linear(2, 3)
    return parts_of(fg.Sequential(table, lstm, *rest), path)


def write_parts(path, parts, method=zipfile.ZIP_STORED, **members):
    """With other members than the good ones; None for none."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in (parts | {name.replace("_", "."): own for name, own in members.items()}).items():
            if content is not None:
                archive.writestr(name, content)


def dense(**own):
    return {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3} | own, "registered_name": None}


def nested(depth, tree=None):
    """A layer in a model, and that in a model, ..."""
    tree = tree or dense()
    for _ in range(depth):
        tree = {"class_name": "Sequential", "config": {"layers": [tree]}}
    return tree
