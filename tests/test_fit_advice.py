"""What `fit` says to somebody new to it: every mistake is named in terms of what they passed, with what to do."""

import copy

import numpy as np
import pytest
from complaints import complaint
from training_tools import Stop, classifier, ragged, tagger

import fastgate as fg

X = np.random.default_rng(0).standard_normal((9, 4, 3)).astype(np.float32)
LABELS = np.arange(9) % 3
CLASSES = {"loss": "cross_entropy", "batch_size": 9}


def test_an_optimiser_is_of_one_model():
    optimizer, model = fg.Adam(1e-3), classifier(outputs=3)
    model.fit(X, LABELS, optimizer=optimizer, **CLASSES)
    model.fit(X, LABELS, optimizer=optimizer, **CLASSES)
    copied, own = copy.deepcopy((model, optimizer))
    copied.fit(X, LABELS, optimizer=own, **CLASSES)
    pieces = "this Adam has trained another model (2 steps)", "make a new one for each model, as fg.Adam(...)"
    with complaint(ValueError, "optimizer", *pieces):
        classifier(outputs=3).fit(X, LABELS, optimizer=optimizer, **CLASSES)
    del model  # what was trained is another model even if nothing is left of it
    with complaint(ValueError, "optimizer", *pieces):
        copied.fit(X, LABELS, optimizer=optimizer, **CLASSES)
    optimizer.restore(optimizer.state())
    copied.fit(X, LABELS, optimizer=optimizer, **CLASSES)


def test_labels_per_step_are_as_many_as_steps():
    x, y = ragged()
    short = [y[0], y[1][:-1], *y[2:]]
    options = {"loss": "cross_entropy", "optimizer": fg.Adam()}
    steps = len(x[1])
    with complaint(ValueError, "y[1]", f"expected {steps} entries, one for each step of x[1], got {steps - 1}"):
        tagger().fit(x, short, **options)
    with complaint(ValueError, "y", "one entry for each of the 10 samples of x, got 9"):
        tagger().fit(x, y[:-1], **options)
    with complaint(TypeError, "y", "one array, as x is one, got sequences of unequal length"):
        tagger().fit(np.zeros((10, 6), int), y, **options)
    with complaint(TypeError, "y", "one entry for each sequence, as the model has a FinalState"):
        classifier(outputs=7).fit([X[0], X[1, :2]], [LABELS[:4], LABELS[:2]], **options)


def test_who_interrupts_is_told_how_to_go_on(tmp_path, capsys):
    options = CLASSES | {"callbacks": [Stop(2)], "epochs": 5}
    classifier(outputs=3).fit(X, LABELS, optimizer=fg.Adam(), **options)
    assert capsys.readouterr().err == "fit: interrupted after step 2; the history so far is returned\n"
    classifier(outputs=3).fit(X, LABELS, optimizer=fg.Adam(), checkpoint=tmp_path, **options)
    expected = "fit: interrupted after step 2; checkpoint step-000000002.npz is written; resume=True goes on from it\n"
    assert capsys.readouterr().err == expected


def test_errors_are_losses_and_metrics_by_either_name():
    y, model = X.sum((1, 2)), classifier()
    options = {"optimizer": fg.Adam(), "metrics": ["mae", "mean_absolute_error", fg.mse]}
    history = model.fit(X, y, loss="mean_squared_error", **options)
    assert history["mae"] == history["mean_absolute_error"]
    assert history["mse"] == history["loss"]
    found = model.evaluate(X, y, loss="mae", metrics=[fg.mae, fg.mean_absolute_error], batch_size=4)
    assert found["mae"] == found["mean_absolute_error"] == pytest.approx(found["loss"])
    found = tagger().evaluate(*ragged(), loss="cross_entropy", metrics=fg.cross_entropy, batch_size=3)
    assert found["cross_entropy"] == pytest.approx(found["loss"])


def test_metrics_that_nothing_would_come_of():
    def largest(y, target):
        return y.max()

    options, y = {"loss": "mse", "optimizer": fg.Adam()}, X.sum((1, 2))
    with complaint(ValueError, "metrics", "measured on validation data only; pass validation="):
        classifier().fit(X, y, metrics=[largest], **options)
    assert "val_largest" in classifier().fit(X, y, metrics=[largest], validation=0.2, **options)
    with complaint(TypeError, "metrics", "functions that return a number, got a pair from huber"):
        classifier().evaluate(X, y, loss="mse", metrics=[fg.huber])


def test_a_number_for_each_sequence_at_every_step_is_doubted_once():
    model, y = fg.Sequential(fg.LSTM(3, 2, seed=0)), X[:, 0, :2]
    with pytest.warns(UserWarning, match=r"compares it with all 4; put fastgate.FinalState\(\)") as caught:
        model.fit(X, y, loss="mse", optimizer="adam", epochs=3, batch_size=2)
    assert len(caught) == 1
    model.fit(X, np.broadcast_to(y[:, None], (9, 4, 2)), loss="mse", optimizer="adam")
    model.fit(X, LABELS % 2, loss="cross_entropy", optimizer="adam")


@pytest.mark.parametrize(
    ("y", "kind", "piece"),
    [
        (np.array(list("abcabcabc")), TypeError, "got strings; number them: names, y = np.unique(labels, return_inver"),
        (np.eye(3)[LABELS], TypeError, "expected integers from 0 to 2, got 3 entries of dtype float64 each; one-hot?"),
        (LABELS[:, None], TypeError, "y[..., 0]"),
        (LABELS * 1.0, TypeError, "expected integers from 0 to 2, got dtype float64; y.astype(int)"),
        (LABELS + 1, ValueError, "got 1 to 3; the model has 3 outputs, classes are counted from 0"),
        (np.zeros((9, 4), int), ValueError, "expected one class for each sample, (), got (4,)"),
    ],
    ids=["strings", "one-hot", "column", "float", "range", "steps"],
)
def test_labels(y, kind, piece):
    with complaint(kind, "y", piece):
        classifier(outputs=3).fit(X, y, optimizer="adam", **CLASSES)


def test_labels_that_do_not_count_may_be_anything():
    x, y = ragged()
    with complaint(ValueError, "y", "got 0 to 9"):
        tagger().fit(x, [np.where(own == 1, 9, own) for own in y], optimizer="adam", **CLASSES)
    weights = np.array([0, *[1] * 8])
    with complaint(ValueError, "y", "got 1 to 3"):
        classifier(outputs=3).fit(X, [-5, *LABELS[1:] + 1], weights=weights, optimizer="adam", **CLASSES)


def test_booleans_are_labels_of_two_classes():
    a, b = (classifier(outputs=2).evaluate(X, y, loss="cross_entropy") for y in (LABELS > 0, (LABELS > 0) * 1))
    assert a == b


def test_targets_of_another_shape_or_kind():
    with complaint(ValueError, "y", "the shape of the model's output for each sample, (3,), got ()"):
        classifier(outputs=3).fit(X, LABELS, loss="mse", optimizer="adam")
    with complaint(ValueError, "y", "expected 0, 1 or probabilities, got 0 to 2"):
        classifier().fit(X, LABELS, loss="binary_cross_entropy", optimizer="adam")
    with complaint(TypeError, "y", "expected numbers, got strings"):
        classifier().fit(X, list("abcabcabc"), loss="mse", optimizer="adam")


def batches():
    yield X, LABELS


@pytest.mark.parametrize(
    ("changed", "kind", "argument", "piece"),
    [
        ({"x": X[..., 0]}, ValueError, "x", "got (9, 4); one value per step is x[..., None]"),
        ({"x": [each[:, 0] for each in X]}, ValueError, "x[0]", "one value per step is x[0][..., None]"),
        ({"x": np.array([X[0], X[0, :2], None], object)[:2]}, TypeError, "x", "a list of arrays, as list(x)"),
        ({"x": batches, "y": None}, TypeError, "x", "a callable(epoch), which takes the epoch's number, got batches"),
        ({"x": lambda epoch: None, "y": None}, TypeError, "x", "callable(epoch) that returns an iterable"),
        ({"x": lambda epoch: [(X, LABELS)]}, ValueError, "y", "got an array of shape (9,)"),
        ({"x": list(X), "lengths": [4] * 9}, ValueError, "lengths", "got an array of shape (9,)"),
        ({"weights": {0: 1.0, 1: 2.0}}, TypeError, "weights", "an array, got a dict; with one weight for each class"),
        ({"optimizer": "adma"}, TypeError, "optimizer", "'sgd', 'adam', 'adamw', 'rmsprop', 'lbfgs', got 'adma'"),
        ({"optimizer": "Adam"}, TypeError, "optimizer", "got 'Adam'; did you mean 'adam'?"),
        ({"loss": "binary_crossentropy"}, ValueError, "loss", "did you mean 'binary_cross_entropy'?"),
        ({"loss": "sparse_categorical_crossentropy"}, ValueError, "loss", "did you mean 'cross_entropy'?"),
        ({"metrics": ["Accuracy"]}, ValueError, "metrics", "did you mean 'accuracy'?"),
        ({"lengths": np.ones((9, 4), bool)}, TypeError, "lengths", "got a mask: give it by mask= to a call; in fit"),
        ({"x": [(X, LABELS)], "y": None}, TypeError, "x", "x=lambda epoch: batches, got a list of batches"),
        ({"validation": [(X, LABELS)] * 2}, TypeError, "validation", "validation=lambda epoch: batches"),
        ({"x": X[0], "y": LABELS[:4], "stateful": 2}, ValueError, "stateful", "as a FinalState gives no output"),
    ],
)
def test_arguments(changed, kind, argument, piece):
    given = {"x": X, "y": LABELS, "optimizer": "adam", **CLASSES} | changed
    with complaint(kind, argument, piece):
        classifier(outputs=3).fit(**given)


@pytest.mark.parametrize(("name", "made"), [("sgd", fg.SGD), ("adam", fg.Adam), ("adamw", fg.AdamW)])
def test_optimisers_by_name(name, made):
    a, b = (classifier(outputs=3).fit(X, LABELS, optimizer=own, **CLASSES)["loss"] for own in (name, made()))
    assert a == b


def test_a_checkpoint_that_is_something_else_gives_no_advice_about_pickles(tmp_path):
    path = tmp_path / "step-000000001.npz"
    for spoil in (lambda: path.write_bytes(b"\x80 junk"), lambda: np.savez(path, a=np.array([{}], object))):
        spoil()
        with pytest.warns(UserWarning, match="is passed over") as caught, pytest.raises(ValueError, match="none of"):
            classifier(outputs=3).fit(X, LABELS, optimizer="adam", checkpoint=tmp_path, resume=True, **CLASSES)
        assert "pickle" not in str(caught[0].message)
