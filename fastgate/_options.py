"""Options of a command line."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from fastgate._terminal import UserError


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is an integer."""

    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text!r}")
        return int(text)

    return integer


def positive(text: str) -> float:
    """The type of an option that is a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


def check_target(option: str, path: Path) -> None:
    """Before the work whose result is written there, not after it."""
    if path.is_dir() or not path.parent.is_dir():
        got = "a folder" if path.is_dir() else "no such folder"
        raise UserError(f"{option} {path}: expected a file in a folder that exists, got {got}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {path}: the folder {str(path.parent)!r} cannot be written")
