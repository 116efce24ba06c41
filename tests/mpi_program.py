"""What tests/test_mpi.py runs in several processes: python mpi_program.py all FOLDER, or aborted FOLDER HOW."""

import os
import signal
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
from mpi4py import MPI
from training_tools import arrays, everything, generated, ragged, stream

import fastgate as fg
from fastgate.training import ranks

WORLD = MPI.COMM_WORLD
HERE = Path(sys.argv[2])
DRAWN = count()


def say(*values):
    """On rank 0."""
    if WORLD.rank == 0:
        sys.stdout.write(" ".join(map(str, values)) + "\n")


def say_all(name, text):
    """What each rank has to say."""
    for rank, line in enumerate(WORLD.gather(text) or ()):
        say("told:", name, f"[{rank}]", line)


def classifier(dtype="float64"):
    """With dropout at three places: each row has the masks that it has in the whole batch."""
    lstm = fg.LSTM(3, 5, 2, dropout=0.3, recurrent_dropout=0.2, seed=0, dtype=dtype)
    layers = lstm, fg.FinalState(), fg.Dropout(0.2, seed=3)
    return fg.Sequential(*layers, fg.Linear(5, 1, seed=2, dtype=dtype))


def tagger(dtype="float64", **options):
    embedding = fg.Embedding(7, 3, seed=0, dtype=dtype)
    lstm = fg.LSTM(3, 5, 2, dropout=0.3, seed=1, dtype=dtype, **options)
    return fg.Sequential(embedding, lstm, fg.Dropout(0.2, seed=3), fg.Linear(5, 7, seed=2, dtype=dtype))


def huge(y, target, **options):
    """A metric of a user's own, which needs all outputs at once."""
    return float(np.abs(y).max())


def kinds():
    """Name -> model, data and options: the last batch has one sample, some weights are 0, lengths differ."""
    weights = np.random.default_rng(3).uniform(0, 2, 10)
    weights[3:5] = 0
    x, y = arrays()
    return {
        "arrays": (classifier, (x, y), {"loss": "mse", "metrics": ["r2", huge], "weights": weights, "validation": 0.2}),
        "ragged": (tagger, ragged(), {"loss": "cross_entropy", "metrics": "accuracy", "validation": ragged(4)}),
        "callable": (classifier, (generated,), {"loss": "mse", "early_stopping": 1}),
        "stream": (tagger, stream(), {"loss": "cross_entropy", "stateful": 5, "validation": stream(21)}),
        "time first": (
            lambda dtype: tagger(dtype, batch_first=False),
            (np.arange(50).reshape(5, 10) % 7, np.arange(50).reshape(5, 10) % 3),
            {"loss": "cross_entropy", "lengths": np.arange(10) % 6},
        ),
        "pairs": (pair, (((arrays()[0], arrays()[0][:, ::2]), arrays()[0][:, ::2, :1])), {"loss": "mse"}),
    }


def pair(dtype):
    encoder = fg.Sequential(fg.LSTM(3, 4, seed=0, dtype=dtype))
    decoder = fg.Sequential(fg.LSTM(3, 4, seed=1, dtype=dtype), fg.Linear(4, 1, seed=2, dtype=dtype))
    return fg.EncoderDecoder(encoder, decoder)


def train(comm, make, data, options, dtype="float64", **others):
    model, optimizer = make(dtype), fg.Adam(1e-2)
    options = {"epochs": 3, "batch_size": 3, "clip_norm": 1.0, "optimizer": optimizer, **options, **others}
    return model, optimizer, model.fit(*data, distributed=comm, **options)


def apart(expected, found):
    """How far parameters and history are from those of another training, at most, in units of about one."""
    (model, _, history), (other, _, others) = expected, found
    assert (history.steps, history.stopped) == (others.steps, others.stopped)
    pairs = [(model.params.flat, other.params.flat), *((history[name], others[name]) for name in history)]
    return max(np.max(np.abs(np.subtract(a, b)) / np.maximum(1, np.abs(a))) for a, b in pairs)


def equal():
    """As in one process, but for rounding; and in all processes to the last bit."""
    alone = {}
    if WORLD.rank == 0:  # which compiles what the others then find
        for name, (make, data, options) in kinds().items():
            alone |= {(name, dtype): train(None, make, data, options, dtype) for dtype in ("float64", "float32")}
    compiled = WORLD.Ibarrier()
    while not compiled.Test():  # others must not take its cores meanwhile, as they do in a barrier
        time.sleep(0.02)
    for name, (make, data, options) in kinds().items():
        for dtype in ("float64", "float32"):
            ours = train(WORLD, make, data, options, dtype)
            told = WORLD.allgather(everything(*ours))
            assert told == [told[0]] * WORLD.size, name
            if WORLD.rank == 0:
                say("equal:", dtype, apart(alone[name, dtype], ours), name)


class CtrlC(fg.Callback):
    """Pressed at some step, in one process."""

    def __init__(self, step, rank):
        self.step, self.is_pressed = step, rank == WORLD.rank

    def on_step_end(self, run):
        if run.history.steps == self.step and self.is_pressed:
            signal.raise_signal(signal.SIGINT)


def resumed():
    """Interrupted in one number of processes and gone on with in another; rank 0 alone writes."""
    pairs = WORLD.Split(WORLD.rank // 2, WORLD.rank)  # 0 and 1; 2
    alone, pair = (comm if WORLD.rank < size else None for comm, size in ((MPI.COMM_SELF, 1), (pairs, 2)))
    for name in ("arrays", "ragged", "stream"):
        make, data, options = kinds()[name]
        whole = train(None, make, data, options)
        for number, (first, second, presser) in enumerate([(WORLD, alone, 2), (alone, WORLD, 0), (pair, WORLD, 1)]):
            folder = HERE / f"{name} {number}" if WORLD.rank == 0 else HERE / "nowhere"
            keeping = {"checkpoint": folder, "every": 2, "resume": True}
            if first:
                _, _, history = train(first, make, data, options, callbacks=[CtrlC(4, presser)], **keeping)
                assert history.interrupted
                assert history.steps in (4, 5)  # where there are others, they must learn of it
            WORLD.barrier()
            if second:
                done = train(second, make, data, options, callbacks=[CtrlC(99, 0)], **keeping)
            if WORLD.rank == 0:
                say("resumed:", apart(whole, done), name)
            WORLD.barrier()
    assert not (HERE / "nowhere").exists()


class On(fg.Callback):
    """Does something at a step, in the last process."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, run):
        if run.history.steps == self.step and WORLD.rank == WORLD.size - 1:
            self.act(run)


def told():
    """What goes wrong in one process is raised in all of them, which can go on."""
    make, data, options = kinds()["arrays"]
    is_last = WORLD.rank == WORLD.size - 1
    x, y = data
    holes = np.where(np.arange(len(x))[:, None, None] == len(x) // 2, np.nan, x)
    folder = HERE / "used"
    if WORLD.rank == 0:
        train(None, make, data, options, checkpoint=folder)
    WORLD.barrier()
    plain = {"loss": "mse", "shuffle": False}
    ranks.PATIENCE = 0.1
    attempts = {
        "batch size": (data, options | {"batch_size": 3 + is_last}),
        "seed": (data, options | {"seed": int(is_last)}),
        "data": ((x + is_last, y), options),
        "shape": ((x[:, is_last:], y), options),
        "argument": (data, options | {"clip_norm": -1.0 if is_last else 1.0}),
        "argument everywhere": (data, options | {"batch_size": 0}),
        "lbfgs": (data, plain | {"optimizer": "lbfgs", "clip_norm": None}),
        "NaN": ((holes, y), plain),
        "loss": (data, plain | {"loss": failing}),
        "folder": (data, options | {"checkpoint": folder}),
        "numbers of batches": ((lambda epoch: list(generated(epoch))[is_last:],), plain),
        "other batches": ((lambda epoch: [(x[:4] + is_last, y[:4])] * 2,), plain),
        "other validation": ((generated,), plain | {"validation": lambda epoch: list(generated(0))[is_last:]}),
        "communicator": (data, options),
        "no communicator": (data, options),
        "changed model": (data, options | {"callbacks": On(2, lambda run: setattr(run.optimizer, "lr", 1.0))}),
    }
    for name, (own, chosen) in attempts.items():
        text = "nothing"
        try:
            comms = {"communicator": 2, "no communicator": MPI.COMM_NULL}
            train(comms.get(name, WORLD), make, own, chosen)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        say_all(name, text)
    if is_last:
        time.sleep(10 * ranks.PATIENCE)
    _, _, history = train(WORLD, make, data, options, callbacks=On(4, lambda run: run.stop("enough")))
    say_all("stopped", f"{history.steps} {history.stopped}")
    options |= {"metrics": [drawn], "validation": 0.2, "early_stopping": fg.EarlyStopping(2, monitor="val_drawn")}
    told = WORLD.allgather(repr(everything(*train(WORLD, make, data, options))))
    say_all("metric of its own", f"{len(set(told))}")
    other = fg.Sequential(fg.LSTM(3, 5), fg.FinalState(), fg.Linear(5, 1))  # each process draws its own
    other.fit(x, y, loss="mse", optimizer="sgd", distributed=WORLD)
    say_all("drawn", f"{len(set(WORLD.allgather(other.params.flat.tobytes())))} model")


def drawn(y, target, **options):
    """A metric that is another in each process, and says so in another epoch."""
    return abs(next(DRAWN) - WORLD.rank)


def failing(y, target, **options):
    if WORLD.rank == WORLD.size - 1:
        raise ZeroDivisionError("no loss today")
    return fg.mse(y, target, **options)


def aborted():
    """An exception outside of a step, of which others cannot learn in time; or the end of a process."""
    make, data, options = kinds()["arrays"]

    def act(run):
        if sys.argv[3] == "raise":
            raise ZeroDivisionError("in a callback")
        os.kill(os.getpid(), signal.SIGKILL)

    train(WORLD, make, data, options, callbacks=On(3, act), epochs=10**6)


if __name__ == "__main__":
    for part in (aborted,) if sys.argv[1] == "aborted" else (equal, resumed, told):
        part()
