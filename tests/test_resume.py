"""Checkpoints: a training that was interrupted goes on to the same bits; files that are no checkpoints do no harm."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from training_tools import Stop, arrays, everything, kinds

import fastgate as fg
from fastgate.training import checkpoint


def run(kind, folder=None, stop=None, **options):
    """One training in a process of its own as it were: nothing is left of an earlier one but its files."""
    model, data, own = kinds()[kind]
    callbacks = [fg.ReduceOnPlateau(patience=1), *([] if stop is None else [Stop(stop)])]
    kept = {} if folder is None else {"checkpoint": folder, "resume": True}
    history = model.fit(*data, **{**own, **kept, "callbacks": callbacks, **options})
    return model, own["optimizer"], history


@pytest.mark.parametrize("kind", kinds())
def test_the_same_bits_however_interrupted(kind, tmp_path):
    """At every third step, between epochs too; each time from the files alone."""
    expected = everything(*run(kind))
    for first in (1, 2, 3):
        folder = tmp_path / str(first)
        for stop in range(first, 20, 3):
            model, optimizer, history = run(kind, folder, stop, every=5)
            if not history.interrupted:
                break
            assert history.steps == stop
        assert everything(model, optimizer, history) == expected


@pytest.mark.parametrize("kind", kinds())
def test_from_every_checkpoint_as_after_a_kill(kind, tmp_path):
    """Whatever came after it is lost, and done again."""
    expected = everything(*run(kind, tmp_path / "all", every=2, keep=100))
    for path in (tmp_path / "all").glob("*.npz"):
        folder = tmp_path / path.stem
        folder.mkdir()
        shutil.copy(path, folder)
        assert everything(*run(kind, folder)) == expected


def test_a_training_that_has_ended_is_not_begun_again(tmp_path):
    expected = everything(*run("callable", tmp_path))
    assert everything(*run("callable", tmp_path)) == expected


def test_more_epochs_go_on(tmp_path):
    run("arrays", tmp_path, epochs=1)
    assert everything(*run("arrays", tmp_path)) == everything(*run("arrays"))


@pytest.mark.parametrize("schedule", [lambda: lambda step: 0.1 / (1 + step), lambda: fg.CosineDecay(0.1, 9)])
def test_a_schedule_goes_on(tmp_path, schedule):
    x, y = kinds()["arrays"][1]
    models = [kinds()["arrays"][0] for _ in range(3)]
    for model, epochs, kept in zip(models, (2, 1, 2), (False, True, True), strict=True):
        folder = {"checkpoint": tmp_path, "resume": True} if kept else {}
        history = model.fit(x, y, loss="mse", optimizer=fg.SGD(schedule(), momentum=0.9), epochs=epochs, **folder)
    assert history.epochs == 2
    np.testing.assert_array_equal(models[0].params.flat, models[2].params.flat)


def test_the_last_ones_are_kept(tmp_path):
    _, _, history = run("arrays", tmp_path, every=2, keep=2)
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["step-000000008.npz", "step-000000009.npz"]
    assert history.steps == 9


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "pickle"])
def test_what_cannot_be_read_is_passed_over(tmp_path, damage):
    expected = everything(*run("arrays", tmp_path, every=4))
    last = max(tmp_path.glob("*.npz"))
    content = last.read_bytes()
    last.unlink()
    if damage == "foreign":
        np.savez(last, a=np.zeros(3))
    elif damage == "pickle":
        np.savez(last, description=np.array([{}], object))
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        last.write_bytes({"cut": content[:middle], "flipped": flipped, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="cannot be read and is passed over"):
        assert everything(*run("arrays", tmp_path)) == expected


def test_if_none_can_be_read_none_is_lost(tmp_path):
    run("arrays", tmp_path, every=1)
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-100])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.npz")}
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(ValueError, match=r"^checkpoint: .* none of"):
        run("arrays", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.npz")} == before


def test_what_cannot_be_read_does_not_push_out_what_can(tmp_path):
    """Later steps, which come again."""
    run("arrays", tmp_path, stop=2, every=1)
    for step in range(7, 10):
        (tmp_path / f"step-{step:09d}.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match="passed over"):
        run("arrays", tmp_path, stop=4, every=1)
    assert [path.name for path in checkpoint.Checkpoints(tmp_path, 3).paths()][3:] == [
        f"step-{step:09d}.npz" for step in (4, 3, 2)
    ]


OWN = """
import sys, types, numpy as np, fastgate as fg
class Twice:
    def forward(self, x): return 2 * x, None
    def backward(self, tape, dy): return types.SimpleNamespace(x=2 * dy)
class Own(fg.SGD):
    def __init__(self, scale): super().__init__(lambda step: 0.1); self.scale = scale
x = np.random.default_rng(0).standard_normal((6, 4, 3))
model = fg.Sequential(fg.LSTM(3, 4, seed=0), fg.FinalState(), Twice(), fg.Linear(4, 1, seed=1))
history = model.fit(x, x[:, 0, 0], loss="mse", optimizer=Own(lambda x: x), epochs=int(sys.argv[2]),
    checkpoint=sys.argv[1], resume=True, batch_size=np.int64(4), clip_norm=np.float32(1), clip_value=np.int32(2))
print(history.epochs, history.steps)
"""


def test_another_process_goes_on_though_functions_and_layers_have_other_addresses(tmp_path):
    runs = [
        subprocess.run([sys.executable, "-c", OWN, tmp_path / "kept", epochs], capture_output=True, text=True)
        for epochs in ("1", "3")
    ]
    assert [done.stdout for done in runs] == ["1 2\n", "3 6\n"], runs[1].stderr


OTHERS = {
    "model": lambda: {"model": fg.Sequential(fg.LSTM(3, 5, seed=0), fg.FinalState(), fg.Linear(5, 1, seed=2))},
    "parameters": lambda: {"model": fg.Sequential(fg.LSTM(3, 6, seed=0), fg.FinalState(), fg.Linear(6, 1, seed=2))},
    "optimizer": lambda: {"optimizer": fg.RMSprop(1e-2)},
    "learning rate": lambda: {"optimizer": fg.Adam(1e-3)},
    "batch_size": lambda: {"batch_size": 4},
    "seed": lambda: {"seed": 1},
    "loss": lambda: {"loss": "mae"},
    "clip_norm": lambda: {"clip_norm": None},
    "samples": lambda: {"validation": None},
    "callbacks": lambda: {"callbacks": []},
    "x checksum": lambda: {"data": (arrays()[0] + 1, arrays()[1])},
    "y checksum": lambda: {"data": (arrays()[0], arrays()[1] * 2)},
    "x dtype": lambda: {"data": (arrays()[0].astype(float), arrays()[1])},
    "weights": lambda: {"weights": np.ones(10)},
    "lengths": lambda: {"lengths": np.full(10, 6)},
    "validation samples": lambda: {"data": tuple(own[:8] for own in arrays()), "validation": arrays()},
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_training_is_refused(tmp_path, what):
    run("arrays", tmp_path, epochs=1)
    given = OTHERS[what]()
    own, data, options = kinds()["arrays"]
    model, data = given.pop("model", own), given.pop("data", data)
    before = model.params.flat.tobytes()
    options |= {"checkpoint": tmp_path, "resume": True, "callbacks": [fg.ReduceOnPlateau(patience=1)]} | given
    expected = "model" if what == "parameters" else what
    with pytest.raises(ValueError, match=rf"^resume: .*is of a training with {expected} ") as caught:
        model.fit(*data, **options)
    assert len(str(caught.value)) < 400
    assert model.params.flat.tobytes() == before


@pytest.mark.parametrize("kind", ["ragged", "stream", "callable"])
def test_validation_cannot_come_or_go(tmp_path, kind):
    """A column of the history would begin in its middle."""
    model, data, options = kinds()[kind]
    given = options.pop("validation", data)
    validation = arrays() if kind == "callable" else given
    options |= {"checkpoint": tmp_path, "resume": True}
    model.fit(*data, **options)
    with pytest.raises(ValueError, match=r"^resume: .* with validation None, this one has 'data'; use the same"):
        kinds()[kind][0].fit(*data, **options, validation=validation)


def test_checkpoints_are_not_overwritten_by_mistake(tmp_path):
    run("arrays", tmp_path)
    with pytest.raises(ValueError, match=r"^checkpoint: .* pass resume=True"):
        run("arrays", tmp_path, resume=False)


def test_an_iterator_cannot_be_resumed(tmp_path):
    model, _, options = kinds()["callable"]
    with pytest.raises(TypeError, match=r"^x: .*callable"):
        model.fit(iter([]), **options, checkpoint=tmp_path, resume=True)


def test_one_training_at_a_time_in_a_folder_and_what_a_kill_left_is_removed(tmp_path):
    left = tmp_path / ".step-000000003.npz.0123456789abcdef.part"
    other = tmp_path / "notes.part"
    with checkpoint.Checkpoints(tmp_path, 3):
        left.write_bytes(b"half")  # by the one that has the folder
        other.write_bytes(b"")
        with pytest.raises(RuntimeError, match=r"^checkpoint: another training"):
            run("arrays", tmp_path)
        assert left.exists()
    run("arrays", tmp_path)
    assert not left.exists()
    assert other.exists()


def test_no_half_of_a_file_is_ever_under_its_name(tmp_path, monkeypatch):
    """The disk is full: the error is the system's, and what was there stays."""
    run("arrays", tmp_path, epochs=1)
    names = sorted(path.name for path in tmp_path.iterdir())

    def refuse(file, **arrays):
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.np, "savez", refuse)
    # The name and the step as well as the system's reason.
    with pytest.raises(OSError, match=r"^checkpoint: .*step-000000006\.npz.* step 6: No space left"):
        run("arrays", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("kept", "piece"), [({"seen": {1, 2}}, "Keeper.state().seen: "), ({"at": {1: "a"}}, "Keeper.state().at: ")]
)
def test_what_a_callback_keeps_is_looked_at_before_the_first_step(tmp_path, kept, piece):
    """What would come back as something else is refused as well."""

    class Keeper(fg.Callback):
        def on_train_begin(self, run):
            self.kept = kept

        def state(self):
            return self.kept

    model, data, options = kinds()["arrays"]
    before = model.params.version
    with pytest.raises(TypeError) as caught:
        model.fit(*data, **options, checkpoint=tmp_path, callbacks=[Keeper()])
    assert str(caught.value).startswith(piece)
    assert model.params.version == before


def test_a_checkpoint_of_an_older_release(tmp_path, monkeypatch):
    """Whose layers did not have all options yet; what they do by default they did then."""
    new = {"mask_zero", "recurrent_dropout", "same_every_step"}

    def older(config):
        if isinstance(config, dict):
            return {name: older(value) for name, value in config.items() if name not in new}
        return [older(part) for part in config] if isinstance(config, list) else config

    def train(epochs, **options):
        model = fg.Sequential(fg.Embedding(5, 3, seed=0, **options), fg.Dropout(0.1, seed=3), fg.GRU(3, 2, seed=1))
        data = np.ones((4, 6), int), np.zeros((4, 6), int)
        kept = {"checkpoint": tmp_path, "resume": True, "batch_size": 2}
        return model.fit(*data, loss="cross_entropy", optimizer=fg.Adam(), epochs=epochs, **kept)

    config = fg.Sequential.config
    monkeypatch.setattr(fg.Sequential, "config", lambda self: older(config(self)))
    train(1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="mask_zero False, this one has True"):
        train(2, mask_zero=True)
    assert train(2).steps == 4
