"""What the command line shows: lines, progress, and what becomes of Ctrl-C."""

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

INTERRUPTED = 130  # what a shell says of a program ended by Ctrl-C
LINES = 10  # of progress, where there is no bar


class UserError(Exception):
    """One line that tells a user what is wrong with what they asked for."""


def say(text: str = "", end: str = "\n") -> None:
    """Print at once, whatever the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write((text + end).encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def warn(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """Without the characters that could command a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def exit_code(program: str, run: Callable[[], int]) -> int:
    """What `run` returns; where it fails, one line on stderr says why."""
    try:
        return run()
    except UserError as error:
        warn(f"{program}: error: {error}")
        return 2
    except MemoryError as error:
        warn(f"{program}: error: not enough memory: {error}")
        return 2
    except KeyboardInterrupt:
        warn(f"{program}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # as `fastgate | head` does; Python would complain once more when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class Progress:
    """A bar of tqdm's on a terminal that has it, else some lines; all on stderr."""

    def __init__(self, name: str) -> None:
        self._name, self._said = name, -1
        self._bar: Any = None
        if sys.stderr.isatty():
            if importlib.util.find_spec("tqdm"):
                from tqdm import tqdm

                layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
                self._bar = tqdm(total=1.0, desc=name, bar_format=layout, leave=False)
            else:
                warn("(for a progress bar: pip install tqdm)")

    def update(self, fraction: float, steps: int, bits: float) -> None:
        fraction = min(fraction, 1.0)
        if self._bar is not None:
            self._bar.set_postfix_str(f"step {steps}, {bits:.3f} bits per character", refresh=False)
            self._bar.update(fraction - self._bar.n)
        elif int(fraction * LINES) > self._said:
            self._said = int(fraction * LINES)
            warn(f"{self._name:9}{fraction:5.0%}  step {steps}, {bits:.3f} bits per character")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Interruption:
    """Inside the ``with`` the first Ctrl-C only sets `requested`; a second one interrupts as usual.

    Only where Python answers Ctrl-C: in the main thread, and unless a program has an answer of its own.
    """

    requested = False

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        self._in_charge = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._in_charge:
            self._before = signal.signal(signal.SIGINT, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._before)

    def __exit__(self, *exception: object) -> None:
        if self._in_charge:
            signal.signal(signal.SIGINT, self._before)
