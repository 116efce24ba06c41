"""Training in several processes, started by mpirun: as in one, and no hang whatever goes wrong in one of them."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from kernel_tools import ROOT, run_python

LIMIT = 600.0  # seconds until a job that hangs is a failure; on a busy machine compiling alone may take minutes
# Nothing but sums in another order: of float32 gradients, through a dozen steps of Adam with rate 0.01.
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}


def launch(count, *arguments):
    """Run tests/mpi_program.py in so many processes; the completed job."""
    if shutil.which("mpirun") is None:
        pytest.skip("there is no mpirun: training in several processes is not tested")
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: training in several processes is not tested")
    threads = {"FASTGATE_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # For Open MPI, which otherwise refuses to be run by root, and to start more processes than there are cores.
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    allowed |= {
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [
        "mpirun",
        "-n",
        str(count),
        sys.executable,
        "-m",
        "mpi4py",
        ROOT / "tests" / "mpi_program.py",
        *map(str, arguments),
    ]
    environment = {**os.environ, "PYTHONPATH": path} | threads | allowed
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """What three processes print, by part; two cannot have unequal shares and an empty one."""
    done = launch(3, "all", tmp_path_factory.mktemp("mpi"))
    assert done.returncode == 0, done.stderr
    return {
        part: re.findall(rf"^{part}: (.*)$", done.stdout, re.MULTILINE) for part in ("equal", "resumed", "told")
    } | {
        "waits": re.findall(
            r"^fastgate: process (\d) of 3 waits for the others to call fit$", done.stderr, re.MULTILINE
        )
    }


def test_as_in_one_process(lines):
    """And the same bits in all processes."""
    apart = [line.split(" ", 2) for line in lines["equal"]]
    assert len(apart) == 12
    for dtype, distance, name in apart:
        assert float(distance) < TOLERANCE[dtype], name


def test_goes_on_in_another_number_of_processes(lines):
    apart = [line.split(" ", 1) for line in lines["resumed"]]
    assert len(apart) == 9
    for distance, name in apart:
        assert float(distance) < TOLERANCE["float64"], name


def test_what_one_process_raises_all_raise(lines):
    other = r"RuntimeError: distributed: rank {} has failed: "
    same = "ValueError: distributed: rank 2 has {}; call fit with the same model, data and arguments in all processes"
    expected = {
        "batch size": [same.format("batch_size 4, rank 0 has 3")] * 3,
        "seed": [same.format("seed 1, rank 0 has 0")] * 3,
        "data": [same.format(r"(validation )?x checksum \d+, rank 0 has \d+")] * 3,
        "shape": [same.format(r"(validation )?x shape \[\d+, 5, 3\], rank 0 has \[\d+, 6, 3\]")] * 3,
        "argument": [other.format(2) + "ValueError: clip_norm: .*"] * 2 + ["ValueError: clip_norm: .*"],
        "argument everywhere": ["ValueError: batch_size: expected an integer of at least 1, got 0"] * 3,
        "lbfgs": ["ValueError: distributed: expected nothing beside optimizer='lbfgs', got .*"] * 3,
        "NaN": ["NonFiniteError: (rank 2: NonFiniteError: )?step 1 .*: the loss is nan; what is .* first: x.*"] * 3,
        "loss": [other.format(2) + "ZeroDivisionError: no loss.*"] * 2 + ["ZeroDivisionError: no loss today"],
        "folder": ["ValueError: checkpoint: .* holds.*"] + [other.format(0) + "ValueError: .* holds.*"] * 2,
        "numbers of batches": ["ValueError: distributed: x, or validation, gives other batches in one process.*"] * 3,
        "other batches": ["ValueError: distributed: x, or validation, gives other batches in one process.*"] * 3,
        "other validation": ["ValueError: distributed: x, or validation, gives other batches in one process.*"] * 3,
        "changed model": ["RuntimeError: distributed: the parameters are not the same in all processes any more.*"] * 3,
        "communicator": ["TypeError: distributed: expected True or a communicator, as mpi4py.MPI.COMM_WORLD, got 2"]
        * 3,
        "no communicator": ["TypeError: distributed: expected True or .*, got MPI.COMM_NULL"] * 3,
        "metric of its own": ["1"] * 3,
        "stopped": [r"4 enough"] * 3,
        "drawn": ["1 model"] * 3,
    }
    found = [re.fullmatch(r"(.*) \[(\d)\] (.*)", line).groups() for line in lines["told"]]
    assert len(found) == 3 * len(expected)
    for name, rank, text in found:
        assert re.fullmatch(expected[name][int(rank)], text), (name, rank, text)


def test_who_waits_long_for_another_process_says_so(lines):
    assert "0" in lines["waits"]
    assert "1" not in lines["waits"]


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("raise", "fit: rank 1 of 2 has failed, and ends all of them: ZeroDivisionError: in a callback"),
        ("kill", "signal 9"),
    ],
)
def test_no_process_waits_for_one_that_has_ended(tmp_path, way, told):
    start = time.perf_counter()
    done = launch(2, "aborted", tmp_path, way)
    assert done.returncode != 0
    assert told in done.stderr
    assert time.perf_counter() - start < LIMIT


def test_without_mpi4py_the_extra_is_named():
    code = """
        import sys
        sys.modules["mpi4py"] = None
        import numpy as np, fastgate as fg
        one = np.zeros((1, 1, 1))
        fg.Sequential(fg.RNN(1, 1)).fit(one, one, loss="mse", optimizer="sgd", distributed=True)
    """
    done = run_python(code, check=False)
    assert (
        "mpi4py is needed for fit(distributed=...): pip install mpi4py (or fastgate with the extra 'mpi')"
        in done.stderr
    )
