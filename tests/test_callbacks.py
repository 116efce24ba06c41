"""Callbacks, early stopping, smaller rates, what is shown, and the history."""

import io
import sys

import numpy as np
import pytest
from complaints import complaint
from training_tools import arrays, classifier, generated

import fastgate as fg


class Script(fg.Callback):
    """Makes the losses of epochs what a test wants them to be."""

    def __init__(self, values, column="val_loss"):
        self.values, self.column, self.parameters = values, column, []

    def on_train_begin(self, run):
        run.history.columns.setdefault(self.column, [])

    def on_epoch_end(self, run):
        run.history.columns[self.column] = self.values[: run.epoch]
        self.parameters.append(run.model.params.flat)


def scripted(values, watching, column="val_loss", **options):
    model, script = classifier(), Script(values, column)
    options = {"loss": "mse", "optimizer": fg.SGD(0.5), "epochs": len(values), "batch_size": 5} | options
    history = model.fit(*arrays(), **options, callbacks=[script, watching])
    return model, history, script, options["optimizer"]


def test_early_stopping_goes_back_to_the_best():
    model, history, script, _ = scripted([3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 0.5], fg.EarlyStopping(2))
    assert (history.epochs, history.best_epoch) == (6, 3)
    assert history.stopped == "no improvement for 2 epochs"
    np.testing.assert_array_equal(model.params.flat, script.parameters[3])


def test_early_stopping_may_keep_the_last():
    model, history, script, _ = scripted([3.0, 2.0, 2.5, 2.5], fg.EarlyStopping(2, restore_best=False))
    assert history.best_epoch == 1
    np.testing.assert_array_equal(model.params.flat, script.parameters[3])


@pytest.mark.parametrize(
    ("values", "options", "column", "best"),
    [
        ([0.1, 0.3, 0.2], {"monitor": "val_accuracy"}, "val_accuracy", 1),
        ([0.1, 0.3, 0.2], {"monitor": "mine", "mode": "max"}, "mine", 1),
        ([0.3, 0.25, 0.1], {"min_delta": 0.1}, "val_loss", 2),
        ([np.nan, 0.3, np.nan], {}, "val_loss", 1),
    ],
)
def test_what_is_better(values, options, column, best):
    _, history, _, _ = scripted(values, fg.EarlyStopping(9, **options), column)
    assert history.best_epoch == best


@pytest.mark.parametrize("watching", [fg.EarlyStopping, fg.ReduceOnPlateau])
def test_what_is_watched_must_be_there_before_the_first_step(watching):
    data = {"loss": "mse", "optimizer": fg.SGD(0.1), "metrics": "r2", "validation": 0.2, "progress": True}
    model = classifier()
    with complaint(ValueError, "monitor", "loss, r2, val_loss, val_r2", "got 'val_los'"):
        model.fit(*arrays(), **data, callbacks=[watching(monitor="val_los")])
    np.testing.assert_array_equal(model.params.flat, classifier().params.flat)
    assert model.fit(*arrays(), **data, callbacks=[watching(monitor="val_r2")]).epochs == 1


def test_the_rate_falls_on_a_plateau():
    plateau = fg.ReduceOnPlateau(0.1, 2, min_lr=0.004)
    *_, optimizer = scripted([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], plateau)
    assert optimizer.lr == pytest.approx(0.004)  # 0.5, 0.05, 0.005 would follow
    with complaint(TypeError, "optimizer.lr", "schedule"):
        scripted([1.0], plateau, optimizer=fg.SGD(lambda step: 0.1))


def test_callbacks_are_called_in_order_and_can_stop():
    class Log(fg.Callback):
        def __init__(self):
            self.calls = []

        def on_train_begin(self, run):
            self.calls.append("begin")

        def on_step_end(self, run):
            self.calls.append(run.step)
            if run.history.steps == 5:
                run.stop("enough")

        def on_epoch_end(self, run):
            self.calls.append(f"epoch {run.epoch}")

        def on_train_end(self, run):
            self.calls.append("end")

    log = Log()
    history = classifier().fit(*arrays(), loss="mse", optimizer=fg.Adam(), batch_size=4, epochs=9, callbacks=[log])
    assert log.calls == ["begin", 1, 2, 3, "epoch 1", 1, 2, "end"]
    assert (history.epochs, history.stopped) == (1, "enough")


def test_history():
    options = {"loss": "mse", "optimizer": fg.Adam(), "validation": 0.2, "metrics": ["r2"], "early_stopping": 1}
    history = classifier().fit(*arrays(), **options, epochs=3)
    assert list(history) == ["loss", "r2", "val_loss", "val_r2"]
    assert len(history["loss"]) == len(history.seconds) == history.epochs
    assert repr(history).startswith(f"History({history.epochs} epochs, ")
    with pytest.raises(KeyError, match=r"no column 'accuracy'; there are loss, r2"):
        history["accuracy"]
    pytest.importorskip("matplotlib")
    figure = history.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "r2"]
    image = io.BytesIO()
    figure.savefig(image)
    assert image.getvalue().startswith(b"\x89PNG")


def test_plot_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="matplotlib is needed to plot a history"):
        fg.History().plot()


def test_progress_is_a_line_for_each_epoch_or_nothing(capsys):
    options = {"loss": "mse", "optimizer": "adam", "epochs": 2}
    classifier().fit(*arrays(), **options)
    assert capsys.readouterr() == ("", "")
    classifier().fit(*arrays(), **options, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": loss ")[0] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"]


@pytest.mark.parametrize("data", [arrays(), (generated,)], ids=["known", "unknown"])
def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch, data):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    classifier().fit(*data, loss="mse", optimizer=fg.Adam(), epochs=2, batch_size=3, progress=True)
    err = capsys.readouterr().err
    assert "epoch 2/2: " in err
    assert "4/4" in err or "4step" in err
    assert "loss " in err


@pytest.mark.parametrize(
    ("options", "kind", "argument"),
    [
        ({"loss": "mze"}, ValueError, "loss"),
        ({"metrics": ["mze"]}, ValueError, "metrics"),
        ({"optimizer": "adma"}, TypeError, "optimizer"),
        ({"optimizer": None}, TypeError, "optimizer"),
        ({"optimizer": fg.Adam}, TypeError, "optimizer"),
        ({"loss": ["mse"]}, ValueError, "loss"),
        ({"loss": lambda y, target: 3.0}, TypeError, "loss"),
        ({"loss": lambda y, target: (3.0, y[0])}, ValueError, "loss: its gradient"),
        ({"metrics": None}, TypeError, "metrics"),
        ({"metrics": ["r2", fg.r2]}, ValueError, "metrics"),
        ({"metrics": [lambda y, target: 1.0, lambda y, target: 2.0]}, ValueError, "metrics"),
        ({"metrics": type("loss", (), {"__call__": print})()}, ValueError, "metrics"),
        ({"checkpoint": True}, TypeError, "checkpoint"),
        ({"checkpoint": __file__}, OSError, "checkpoint"),
        ({"epochs": -1}, ValueError, "epochs"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"seed": -1}, ValueError, "seed"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm"),
        ({"validation": 1.5}, ValueError, "validation"),
        ({"validation": (1,)}, TypeError, "validation"),
        ({"lengths": [1, 2]}, ValueError, "lengths"),
        ({"weights": [1, 2]}, ValueError, "weights"),
        ({"weights": np.zeros(10)}, ValueError, "weights"),
        ({"y": np.zeros(9)}, ValueError, "y"),
        ({"y": None}, ValueError, "y"),
        ({"x": np.zeros((0, 3, 3))}, ValueError, "x"),
        ({"x": [np.zeros((2, 3)), np.zeros((3, 4))]}, ValueError, "x[1]"),
        ({"x": lambda epoch: 3, "y": None}, TypeError, "x"),
        ({"x": lambda epoch: [3], "y": None}, TypeError, "x"),
        ({"steps_per_epoch": 3}, ValueError, "steps_per_epoch"),
        ({"stateful": True}, ValueError, "stateful"),
        ({"stateful": 3}, ValueError, "stateful"),
        ({"checkpoint": "never", "optimizer": type("Own", (), {"lr": 1, "step": None})}, TypeError, "optimizer"),
        ({"early_stopping": 0}, ValueError, "early_stopping"),
        ({"callbacks": [print]}, TypeError, "callbacks"),
        ({"resume": True}, ValueError, "checkpoint"),
        ({"every": 3}, ValueError, "checkpoint"),
    ],
)
def test_wrong_arguments(options, kind, argument):
    x, y = arrays()
    model = classifier()
    before = model.params.version
    with complaint(kind, argument):
        model.fit(**{"x": x, "y": y, "loss": "mse", "optimizer": fg.Adam()} | options)
    assert model.params.version == before


def test_no_stream_through_both_directions():
    model = fg.Sequential(fg.LSTM(3, 5, bidirectional=True, seed=0), fg.Linear(10, 1, seed=1))
    with complaint(ValueError, "stateful", "bidirectional"):
        model.fit(np.zeros((20, 3)), np.zeros((20, 1)), loss="mse", optimizer=fg.Adam(), stateful=5)
    reversing = fg.Sequential(fg.Reverse(), fg.LSTM(3, 1, seed=0), fg.Reverse())
    with complaint(ValueError, "stateful", "Reverse"):
        reversing.evaluate(np.zeros((20, 3)), np.zeros((20, 1)), loss="mse", stateful=5)


def test_what_ends_reversed_cannot_be_predicted_as_a_list():
    model = fg.Sequential(fg.Reverse(), fg.GRU(3, 2, seed=0))
    with complaint(TypeError, "x", "sequences of equal length", "(1, 5, 2)"):
        model.predict([np.ones((6, 3)), np.ones((5, 3))], batch_size=1)
