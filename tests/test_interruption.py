"""Ctrl-C while threads compute: whoever was interrupted can go on, and nothing still writes into memory in use."""

import gc
import signal
import threading

import numpy as np
import pytest

import fastgate as fg
from fastgate.kernels.cpu import sharing, team

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that sends a signal"),
    # An interruption of a callback (of the garbage collector, say) is no exception, and Python says so.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _shared(monkeypatch):
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(sharing, "FLOPS_PER_TURN", 1.0)
    before, handler = fg.get_num_threads(), signal.signal(signal.SIGALRM, _interrupt)
    fg.set_num_threads(4)
    gc.disable()
    yield
    gc.enable()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    fg.set_num_threads(before)


def _interrupt(number, frame):
    raise KeyboardInterrupt


@pytest.mark.parametrize("sequences", [0, 100], ids=["sequences", "units"])
def test_the_next_call_is_right(sequences, monkeypatch):
    """At a hundred moments, some of them while tasks are handed over, some while others are awaited."""
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", sequences)
    layer, rng = fg.LSTM(40, 64, seed=0), np.random.default_rng(0)
    first, second = rng.standard_normal((2, 8, 30, 40)).astype(np.float32)
    expected, interrupted = layer(second)[0].tobytes(), 0
    layer(first)
    for n in range(100):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-5 + 2e-5 * n)
            for _ in range(1000):
                layer(first)
        except KeyboardInterrupt:
            interrupted += 1
        assert layer(second)[0].tobytes() == expected
    assert interrupted > 50


def test_tasks_that_have_begun_end_before_the_interruption_is_raised(monkeypatch):
    """And those that have not begun never do."""
    begun, go_on, ran = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        go_on.wait(60)
        ran.append("slow")

    def interrupted_wait(*args):
        assert begun.wait(60)
        threading.Timer(0.1, go_on.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(team, "wait_for", interrupted_wait)
    with pytest.raises(KeyboardInterrupt):
        team.run([lambda: begun.wait(60), slow])
    assert ran == ["slow"]
    monkeypatch.undo()
    team.run([lambda: ran.append(0), lambda: ran.append(1)])
    assert sorted(ran[1:]) == [0, 1]
