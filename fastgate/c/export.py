"""A layer or model as C that any program can be linked with."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from fastgate import _errors
from fastgate._arrays import quiet
from fastgate._atomic import atomic_file, permissions_of
from fastgate._model import on_cpu
from fastgate.c.files import files

LONGEST = 24  # characters of a name: C99 tells names apart by 31, and "_state" is added
# Whose headers NAME.h would hide where its folder is searched first.
STANDARD = (
    "assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|stdarg|stdbool|stddef"
    "|stdint|stdio|stdlib|string|tgmath|time|wchar|wctype"
)


@quiet  # sums of biases
def to_c(layer: Any, folder: str | os.PathLike[str], *, name: str = "model") -> list[Path]:
    """Write a layer's or model's inference step as C99 source, which needs nothing but the C compiler's own library.

    Four files: ``NAME.h``, which documents itself (and serves C++), ``NAME.c``, ``NAME_weights.h``, and for Fortran the
    module ``NAME.f90``. There is a struct ``NAME_state`` with the states of all recurrent layers, owned by the caller,
    and ``NAME_init(&state)`` and ``NAME_step(&state, x, y)`` for one time step of one sequence. Nothing is allocated,
    nothing is global but the weights, which are constants: for microcontrollers, plug-ins and simulations.

    Weights are written exactly. The equations are those of the kernels, translated; recurrent layers and `Linear` give
    the same bits as `layer.step` where both use fused multiply-adds (gcc and clang: with ``-O3 -march=native``, say) or
    neither does. `LayerNorm` and `Activation` use math.h, whose results differ from NumPy's by some units in the last
    place. Sums keep their order even under ``-ffast-math``; a compiler that computes in wider numbers than those of the
    type (x87) stops with an error.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, Linear, LayerNorm, Embedding, or a Sequential of these, of Activation and Dropout
        Dropout vanishes. The step of what begins with an `Embedding` takes an integer in place of x.
    folder : str or path-like
        Made if there is none, and those above it; files of these names are replaced.
    name : str
        Begins the names of files, of the functions and of the struct; not that of a header of C itself.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    TypeError, ValueError
        If a layer has no step (bidirectional, `FinalState`), or is not one of these; the message names it. Nothing is
        written.
    OSError
        If the folder cannot be made or a file cannot be written. Nothing is written where what is no ordinary file has
        one of the names.

    Examples
    --------
    >>> import fastgate as fg
    >>> files = fg.to_c(fg.LSTM(3, 16), "generated", name="filter")  # doctest: +SKIP
    """
    if not isinstance(name, str) or not re.fullmatch(rf"[A-Za-z][A-Za-z0-9_]{{0,{LONGEST - 1}}}", name):
        raise _errors.not_an_identifier(name, LONGEST)
    if re.fullmatch(STANDARD, name, re.IGNORECASE):
        raise _errors.wrong_value("name", "one that is not of a header of C, which the new one would hide", name)
    if not isinstance(folder, (str, os.PathLike)):
        raise _errors.wrong_type("folder", "the path of a folder", repr(folder))
    contents = {Path(folder, own): text for own, text in files(on_cpu(layer), name).items()}
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _errors.no_new_folder(folder, error) from None
    for path in contents:
        permissions_of(path, "folder")
    for path, text in contents.items():
        with atomic_file(path, argument="folder") as file:
            file.write(text.encode())
    return list(contents)
