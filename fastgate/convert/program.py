"""A file of weights read, written in another format, and both compared on random input."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastgate
from fastgate._arrays import Array
from fastgate._atomic import atomic_file
from fastgate._options import check_target
from fastgate._terminal import UserError, printable, say, warn
from fastgate.convert import formats, inspection, samples
from fastgate.convert.formats import FORMATS, Format, Options
from fastgate.convert.originals import Original, Unavailable

# Where a dtype itself is off by more than the bound, as with large weights: so often that, and never more than so much.
MOST_ROUNDINGS, MOST = 10, {"float32": 1e-3, "float64": 1e-9}
OPTIONS = {
    "part": "--part",
    "into": "--into",
    "names": "--names",
    "batch_first": "--batch-first and --time-first",
    "nonlinearity": "--nonlinearity",
    "dtype": "--dtype",
}

UNSAID = re.compile(r"expected (.*), as (?:path: )?(.*) does not say it, got None")
ADVICE = re.compile(r"\bby (part|into|names)=(?=\W|$)")  # and no option of a layer, as in "bias=True"


def run(options: Namespace) -> int:
    """The exit code: 1 where a file is at fault; wrong arguments are a UserError."""
    try:
        if options.inspect:
            _inspect(options)
        else:
            _convert(options)
    except BrokenPipeError:
        raise
    except (TypeError, ValueError, ArithmeticError, OSError, ImportError) as error:
        warn(f"fastgate: error: {_with_options(_line(error))}")
        return 1
    return 0


def _with_options(text: str) -> str:
    """What is said of an argument of `from_torch` and its like, of the option that gives it."""
    name, colon, rest = text.partition(": ")
    rest = UNSAID.sub(r"expected \1, as \2 does not say it, got none", rest).replace("True or False", "one of the two")
    rest = ADVICE.sub(lambda found: f"by {OPTIONS[found[1]]}", rest)
    return f"{'IN' if name == 'path' else OPTIONS.get(name, name)}{colon}{rest}"


@contextmanager
def _as(name: str, shown: object, path: object) -> Iterator[None]:
    """What is said of this path inside the ``with`` is said of an argument of the command."""
    try:
        yield
    except BrokenPipeError:  # of the terminal
        raise
    except (TypeError, ValueError, ArithmeticError, OSError, ImportError) as error:
        text = str(error).replace(str(path), str(shown))
        raise ValueError(f"{name}{text.removeprefix('path')}" if text.startswith("path: ") else text) from error


def _line(error: object) -> str:
    return printable(" ".join(str(error).split()))


def _inspect(options: Namespace) -> None:
    if options.output is not None or options.to is not None or options.force:
        raise UserError("--inspect IN: expected nothing to be written, neither OUT nor --to nor --force")
    source, given = _source(options)
    listing = source.inspect(options.input, given)
    say(f"{options.input}: {source.title}")
    say("\n".join(listing.lines()))


def _source(options: Namespace) -> tuple[Format, Options]:
    """The format of IN, and those of the options that its reader was given."""
    source = FORMATS[formats.of_input(options.input)]
    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    for name in given:
        if name not in source.options:
            raise UserError(f"{OPTIONS[name]}: expected none for {source.title}, whose files say what they hold")
    if "names" in given:
        given["names"] = dict(given["names"])
    return source, given


def _convert(options: Namespace) -> None:
    path, target_path = options.input, options.output
    if target_path is None:
        raise UserError("convert IN: expected OUT, the file to be written, or --inspect")
    target = FORMATS[formats.of_output(target_path, options.to)]
    check_target("OUT", target_path)
    if target_path.exists() and not options.force:
        raise _exists(target_path)
    source, given = _source(options)
    if "into" in given:
        with _as("--into", given["into"], given["into"]):
            given["into"] = fastgate.load(given["into"])

    layer = source.read(path, given)
    check = _Check(layer, source, path, given)
    say(f"read      {path}: {source.title}")
    say("\n".join(inspection.of_layer(layer).lines()))
    say(f"checked   on random input; differences in units of the largest output, up to {check.bound:g}")
    check.source()
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, target_path.name)
        with _as("OUT", target_path, part):
            target.write(layer, part)
            check.target(target, part)
        try:
            with open(part, "rb") as content, atomic_file(target_path, replaces=options.force) as file:
                shutil.copyfileobj(content, file)
        except FileExistsError:  # since the beginning
            raise _exists(target_path) from None
    say(f"written   {target_path}: {target.title}, {target_path.stat().st_size:,} bytes")


def _exists(path: Path) -> UserError:
    return UserError(f"OUT {path}: expected no such file yet, or --force to replace it")


class _Check:
    """What the layer computes beside what others make of the files."""

    def __init__(self, layer: Any, source: Format, path: Path, given: Options) -> None:
        self._layer, self.bound = layer, samples.BOUNDS[samples.dtype_of(layer).name]
        self._run = samples.run_of(layer)
        self._source, self._path, self._given = source, path, given
        self._x = samples.sample(layer)

    def source(self) -> None:
        """IN by its own library, which may not be able to run what fastgate reads."""
        try:
            with warnings.catch_warnings(action="ignore"):  # of other libraries
                original = self._original(self._source, self._path, self._given)
                if original is None:
                    return
                self._x = samples.sample(self._layer, original.sizes)
                y = original.run(self._x)
        except Unavailable as reason:
            say(f"          IN is not compared: {_line(reason)}")
        except Exception as error:  # of any class of that library's
            say(f"          IN is not compared: {self._source.title} does not run it: {_line(error)}")
        else:
            self._compare(f"IN by {original.library}", y, original.is_single)

    def target(self, target: Format, path: Path) -> None:
        """OUT read by fastgate, and by its own library, which must be able to run it."""
        self._compare("OUT read by fastgate", target.read_again(path, self._layer)(self._x))
        try:
            with warnings.catch_warnings(action="ignore"):
                original = self._original(target, path, {})
                if original is None:
                    return
                y = original.run(self._x)
        except Unavailable as reason:
            say(f"          OUT is compared by fastgate's own reading alone: {_line(reason)}")
        except Exception as error:
            raise ValueError(f"OUT: not written: {target.title} does not run it: {_line(error)}") from error
        else:
            self._compare(f"OUT by {original.library}", y, original.is_single)

    def _original(self, known: Format, path: Path, given: Options) -> Original | None:
        return None if known.original is None else known.original(path, self._layer, given)

    def _compare(self, name: str, other: Array, is_single: bool = False) -> None:
        dtype = "float32" if is_single else samples.dtype_of(self._layer).name
        bound, note = samples.BOUNDS[dtype], ""
        apart = samples.difference(self._run(self._x), other)
        if bound < apart < MOST[dtype]:
            own = samples.rounding(self._layer, self._x, dtype)
            bound, note = (
                max(bound, MOST_ROUNDINGS * own),
                f" ({dtype} is off by about {own:.1e} here, whoever computes)",
            )
        if apart > bound:
            text = f"OUT: not written: {name} gives outputs that differ by {apart:.1e}, more than {bound:.1g}"
            raise ValueError(text)
        if is_single and self.bound < bound:
            note = note or ", as it computes in float32"
        say(f"          {name}: {f'{apart:.1e}' if apart else 'the same bits'}{note}")
