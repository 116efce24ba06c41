"""scikit-learn's estimators: its own checks, and what these leave out: sequences, weights, bits, processes."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
from kernel_tools import run_python

import fastgate as fg

pytest.importorskip("sklearn", reason="scikit-learn is not installed: its estimators are not tested")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fastgate.sklearn import SequenceClassifier, SequenceRegressor

small = partial(dict, hidden_size=6, epochs=3, random_state=0)
BOTH = pytest.mark.parametrize("kind", [SequenceRegressor, SequenceClassifier])
N = 40


@pytest.fixture
def arrays():
    """X (N, 7, 3), and y the signs of what the first feature adds up to."""
    X = np.random.default_rng(0).normal(size=(N, 7, 3))
    return X, (X[:, :, 0].sum(axis=1) > 0).astype(int)


@pytest.fixture
def sequences(arrays):
    """Of unequal length."""
    lengths = np.random.default_rng(1).integers(1, 8, size=N)
    return [x[:length] for x, length in zip(arrays[0], lengths, strict=True)]


@pytest.mark.parametrize("model", [SequenceRegressor(), SequenceClassifier(epochs=20)], ids=["regressor", "classifier"])
def test_passes_the_checks_of_scikit_learn(model):
    """Without one expected failure; skipped is only what needs other libraries. Fewer epochs only save time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the checks warn about, they provoke
        results = check_estimator(model, on_skip=None)
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert len(results) - len(skipped) > 50
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert all("pandas" in str(r["exception"]) or "ARRAY_API" in str(r["exception"]) for r in results if r["exception"])


def test_the_missing_extra_is_named():
    done = run_python("import sys; sys.modules['sklearn'] = None; import fastgate.sklearn", check=False)
    expected = "scikit-learn is needed for fastgate.sklearn: pip install scikit-learn (or fastgate with the extra 's"
    assert expected in done.stderr


# ------------------------------------------------------------------------------------------------------ sequences


@BOTH
def test_a_list_is_read_sequence_by_sequence(kind, arrays, sequences):
    model = kind(**small()).fit(sequences, arrays[1])
    assert model.n_features_in_ == 3
    together = model.predict(sequences)
    assert together.shape == (N,)
    np.testing.assert_array_equal(together, np.concatenate([model.predict([one]) for one in sequences]))
    held = np.empty(N, object)
    held[:] = sequences
    np.testing.assert_array_equal(together, kind(**small()).fit(held, arrays[1]).predict(held))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_one_value_per_step_is_one_feature(cell, arrays):
    """(N, T), (N, T, 1) and lists of (T,) are the same data, and train the same network."""
    X, y = arrays[0][:, :, 0], arrays[1]
    models = [SequenceClassifier(cell, **small()).fit(own, y) for own in (X, X[:, :, None], list(X))]
    assert [model.n_features_in_ for model in models] == [7, 1, 1]
    first, second, third = (model.network_.params.flat for model in models)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, third, rtol=0, atol=1e-12)  # with lengths, sums run in another order


def test_what_lies_in_time_is_learnt(sequences):
    y = np.array(["up" if one[-1, 0] > one[0, 0] else "down" for one in sequences])
    model = SequenceClassifier("gru", hidden_size=16, epochs=60, random_state=0, dtype="float32").fit(sequences, y)
    assert list(model.classes_) == ["down", "up"]
    assert model.score(sequences, y) == 1.0
    assert model.history_["loss"][-1] < 0.3  # a coin has log(2)
    assert model.n_iter_ == 60


def test_three_classes_agree_in_every_method(sequences):
    y = np.digitize([one[-1, 0] for one in sequences], [-0.5, 0.5])
    model = SequenceClassifier(num_layers=2, bidirectional=True, dropout=0.2, **small()).fit(sequences, y)
    logits, probabilities = model.decision_function(sequences), model.predict_proba(sequences)
    np.testing.assert_allclose(np.diff(np.log(probabilities)), np.diff(logits), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(model.predict(sequences), logits.argmax(axis=1))


def test_several_outputs_of_any_scale(arrays):
    """The scale of the targets changes predictions, not the training."""
    X = arrays[0]
    y = X[:, -1, :2]
    model, far = (SequenceRegressor(**small(epochs=20)).fit(X, own) for own in (y, 1e6 * y - 1e9))
    assert model.predict(X).shape == (N, 2)
    np.testing.assert_allclose(far.predict(X), 1e6 * model.predict(X) - 1e9, rtol=1e-9)
    constant = SequenceRegressor(**small(epochs=20)).fit(X, np.full(N, 5.0))
    np.testing.assert_allclose(constant.predict(X), 5.0, atol=0.5)


@BOTH
def test_wrong_sequences_are_refused(kind, arrays, sequences):
    X, y = arrays
    model = kind(**small())
    with pytest.raises(NotFittedError):
        model.predict(sequences)
    with pytest.raises(ValueError, match="NaN"):
        model.fit([*sequences[:-1], np.full((2, 3), np.nan)], y)
    with pytest.raises(ValueError, match=r"X\[39\].*\(time, 3\)"):
        model.fit([*sequences[:-1], np.zeros((2, 4))], y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(sequences, y[:-1])
    model.fit(sequences, y)
    with pytest.raises(ValueError, match=r"X has 2 features, but Sequence.* is expecting 3"):
        model.predict(X[:, :, :2])
    with pytest.raises(ValueError, match="X: expected an array with three axes or a list of sequences, as in fit"):
        model.predict(X[:, :, 0])


# ---------------------------------------------------------------------------------------------------- parameters


def test_a_weight_counts_as_often_as_it_says(arrays):
    X, y = arrays
    weights = np.random.default_rng(2).integers(0, 3, size=N)
    # One batch holds everything, so that there is nothing but the order of its sums to tell both apart.
    weighted = SequenceClassifier(batch_size=200, **small()).fit(X, y, sample_weight=weights)
    repeated = SequenceClassifier(batch_size=200, **small()).fit(X.repeat(weights, axis=0), y.repeat(weights))
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), rtol=1e-9, atol=1e-12)
    for bad, expected in ((-np.ones(N), "numbers of at least 0"), (np.zeros(N), "zero"), (np.ones(3), "shape")):
        with pytest.raises(ValueError, match=f"sample_weight: .*{expected}"):
            weighted.fit(X, y, sample_weight=bad)


def test_early_stopping_goes_back_to_the_best(arrays):
    y = np.random.default_rng(3).permutation(arrays[1])  # nothing to learn
    options = small(epochs=200, hidden_size=16, early_stopping=True, n_iter_no_change=3, validation_fraction=0.25)
    model = SequenceClassifier(**options).fit(arrays[0], y, sample_weight=np.linspace(0.5, 1.5, N))
    best = int(np.argmin(model.history_["val_loss"]))
    assert model.history_.best_epoch == best
    assert model.n_iter_ == best + 4 < 200


def test_ctrl_c_keeps_what_was_learnt(arrays, monkeypatch, capsys):
    def interrupt(self, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(fg.EarlyStopping, "on_epoch_end", interrupt)
    model = SequenceClassifier(early_stopping=True, verbose=True, **small())
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*arrays)
    assert model.n_iter_ == 1
    assert model.predict(arrays[0]).shape == (N,)
    monkeypatch.undo()
    model.fit(*arrays)
    assert "epoch 3/3: loss" in capsys.readouterr().err


@BOTH
def test_warm_start_goes_on(kind, arrays):
    X, y = arrays
    model = kind(warm_start=True, **small()).fit(X, y)
    losses = [model.history_["loss"][0], model.fit(X, y).history_["loss"][0]]
    assert losses[1] < losses[0]
    with pytest.raises(ValueError, match="warm_start: expected the cell"):
        model.set_params(hidden_size=7).fit(X, y)
    assert kind(**small()).fit(X, y).fit(X, y).history_["loss"][0] == losses[0]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd", "lbfgs"])
def test_every_optimizer_learns(optimizer, arrays):
    X = arrays[0]
    model = SequenceRegressor(optimizer=optimizer, **small(epochs=10)).fit(X, X[:, -1, 0])
    assert model.history_["loss"][-1] < 0.95 * model.history_["loss"][0]


def test_wrong_parameters_are_named(arrays):
    X, y = arrays
    wrong = {"cell": "transformer", "optimizer": "newton", "hidden_size": 0, "dropout": 1.0, "dtype": "float16"}
    wrong |= {"epochs": -1, "batch_size": 0, "early_stopping": 3, "clip_norm": 0.0}
    for name, value in wrong.items():
        with pytest.raises((TypeError, ValueError), match=name):
            SequenceRegressor(**small() | {name: value}).fit(X, y)
    with pytest.raises(ValueError, match="weight_decay: expected 0 beside optimizer='lbfgs'"):
        SequenceRegressor(optimizer="lbfgs", weight_decay=0.1).fit(X, y)
    with pytest.raises(ValueError, match="y: expected at least two classes, got one class only, 'a'"):
        SequenceClassifier(**small()).fit(X, ["a"] * N)
    for strings in (["1"] * N, np.array(["a"] * N, object)):
        with pytest.raises(TypeError, match="y: expected numbers, got strings; SequenceClassifier learns classes"):
            SequenceRegressor(**small()).fit(X, strings)


def test_wrong_names_of_parameters_name_the_class_that_is_made():
    class Own(SequenceClassifier):
        pass

    for made in (SequenceRegressor, SequenceClassifier, Own):
        with pytest.raises(TypeError, match=rf"{made.__name__}\.__init__\(\) got an .*'units'"):
            made(units=3)


def test_a_fit_that_fails_changes_no_prediction(arrays):
    X, y = arrays
    model = SequenceRegressor(**small(learning_rate=-1.0))
    with pytest.raises(ValueError, match="lr"):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    before = model.set_params(learning_rate=1e-3).fit(X, y).predict(X)
    with pytest.raises(ValueError, match="lr"):
        model.set_params(learning_rate=-1.0).fit(X, 100.0 * y)
    np.testing.assert_array_equal(model.predict(X), before)


# ---------------------------------------------------------------------------------------------- bits and processes


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_with_any_number_of_threads(kind, dtype):
    """Large enough to be shared out among threads."""
    X = np.random.default_rng(4).normal(size=(64, 12, 4))
    y = (X[:, :, 0].sum(axis=1) > 0).astype(int)
    options = small(hidden_size=64, epochs=1, num_layers=2, dropout=0.3, batch_size=64, early_stopping=True)
    threads, flat = fg.get_num_threads(), []
    try:
        for count in (1, 3):
            fg.set_num_threads(count)
            flat.append(kind(dtype=dtype, **options).fit(X, y).network_.params.flat)
    finally:
        fg.set_num_threads(threads)
    np.testing.assert_array_equal(*flat)
    other = kind(dtype=dtype, **options | {"random_state": 1}).fit(X, y).network_.params.flat
    assert (flat[0] != other).mean() > 0.9


def test_computes_in_the_dtype_of_x(arrays):
    X, y = arrays
    for given, found in (("float32", "float32"), ("float64", "float64"), ("float16", "float64")):
        assert SequenceRegressor(**small()).fit(X.astype(given), y).network_.dtype == found
    assert SequenceRegressor(dtype="float32", **small()).fit(X, y).network_.dtype == "float32"


@BOTH
def test_copies_predict_the_same(kind, arrays, sequences, tmp_path):
    model = kind(**small()).fit(sequences, arrays[1])
    wanted = model.predict(sequences)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(sequences), wanted)
    anew = clone(model)
    assert not hasattr(anew, "network_")
    np.testing.assert_array_equal(anew.fit(sequences, arrays[1]).predict(sequences), wanted)
    fg.save(tmp_path / "network.safetensors", model.network_)
    found = fg.load(tmp_path / "network.safetensors").predict(sequences)
    np.testing.assert_array_equal(found, model.network_.predict(sequences))


def test_searches_in_processes(arrays):
    """In a pipeline, and on lists; the same scores as in this process."""
    X, y = arrays[0][:, :, 0], arrays[1]
    pipeline = make_pipeline(StandardScaler(), SequenceClassifier(**small()))
    grid = {"sequenceclassifier__cell": ["lstm", "gru"], "sequenceclassifier__hidden_size": [4, 5]}
    searches = [GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).fit(X, y) for n_jobs in (2, 1)]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)
    assert searches[0].best_estimator_.predict(X).shape == (N,)


def test_cross_validates_lists(sequences):
    y = np.array([one[-1, 0] for one in sequences])
    model = SequenceRegressor(hidden_size=16, epochs=100, learning_rate=1e-2, random_state=0)
    assert cross_val_score(model, sequences, y, cv=3).mean() > 0.3
