"""The same work in every library, ready to be timed: compiled, run twice, and in its best configuration.

asv measures old releases with these very files (there is a link beside its benchmarks), so they know only fastgate's
public names, and each other by relative imports.
"""

import importlib
from functools import cache
from typing import Any

from .case import GATES, Run, make_case

WORKS = ["inference", "training_step", "step"]
LIBRARIES = ["fastgate", "torch", "onnxruntime", "jax", "keras"]
CELLS = list(GATES)


def prepare(work: str, library: str, cell: str, shape: str, dtype: str = "float32", threads: int = 1) -> Run:
    """A function without arguments that does `work` once, and returns what the library returns.

    Parameters
    ----------
    work : "inference", "training_step" or "step"
        All outputs of a batch of sequences; the gradients of the input and of all parameters, given those of all
        outputs; one time step, from the state that the call before has left.
    library : one of LIBRARIES
    cell : one of CELLS
    shape : str
        "B,T,I,H", or "B,I,H" for a step.
    dtype : "float32" or "float64"
    threads : int
        Of the library in this process, from now on.

    Raises
    ------
    NotImplementedError
        If the library is not installed or cannot do it: the message says which. asv skips the case.
    """
    peer(library).configure(threads)
    return _prepare(work, library, cell, shape, dtype, threads)


def peer(library: str) -> Any:
    """Its module here: BEST, configure and prepare."""
    return importlib.import_module(f".with_{library}", __name__)


@cache  # asv runs `setup` before every sample
def _prepare(work: str, library: str, cell: str, shape: str, dtype: str, threads: int) -> Run:
    run: Run = peer(library).prepare(make_case(work, cell, shape, dtype), threads)
    run()
    run()
    return run
