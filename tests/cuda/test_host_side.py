"""What the host does for a GPU, by all of numba-cuda, with a driver of our own that has none: see `host_side.py`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import offline
import pytest
from numba.core import config

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")

if config.ENABLE_CUDASIM or offline.missing() or COMPILER is None or sys.platform != "linux":
    pytest.skip("needs numba-cuda with its toolkit, and a C compiler, on Linux", allow_module_level=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function of the name of a program, that runs it and returns its stderr; compiled kernels are kept."""
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libcuda.so.1"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-w", "-o", library, HERE / "stand_in_driver.c"], check=True)
    variables = os.environ | {
        "LD_LIBRARY_PATH": str(folder),
        "NUMBA_CUDA_DRIVER": str(library),
        "NUMBA_CACHE_DIR": str(folder),
        "PYTHONPATH": str(HERE.parents[1]),
    }

    def run_program(name):
        command = [sys.executable, "-W", "error", HERE / "host_side.py", name]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run_program


@pytest.mark.parametrize(
    "program",
    [
        "nothing_is_allocated_in_a_loop",
        "a_full_device_is_an_error_and_no_end",
        "what_does_not_fit_is_not_launched",
        "clusters_are_launched",
        "other_streams_are_waited_for",
        "copies_do_not_wait_for_the_stretch_that_is_computed",
        "who_lets_go_needs_no_device",
        "who_has_written_is_waited_for",
        "pinned_memory_is_not_written_while_it_is_read",
        "bytes_are_set_from_any_address",
        "failures_are_said",
        "a_forked_process_says_so",
        "arrays_of_another_device_are_refused",
    ],
)
def test_program(program, run):
    run(program)


def test_kernels_are_compiled_once(run):
    run("failures_are_said")
    assert "compiling" not in run("failures_are_said")
