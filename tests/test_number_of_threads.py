"""How many threads fastgate uses: what sets it, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from complaints import complaint

import fastgate as fg


@pytest.mark.parametrize(
    ("count", "kind"),
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError), (None, TypeError)],
)
def test_number_of_threads(count, kind):
    before = fg.get_num_threads()
    with complaint(kind, "count", "an integer", f"got {count!r}"):
        fg.set_num_threads(count)
    assert fg.get_num_threads() == before


@pytest.mark.parametrize("text", ["abc", "0", "-1", "1.5"])
def test_threads_in_the_environment(text):
    home = str(Path(fg.__file__).parents[1])
    environment = os.environ | {"FASTGATE_NUM_THREADS": text, "PYTHONPATH": home}
    ended = subprocess.run([sys.executable, "-c", "import fastgate"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last == f"ValueError: FASTGATE_NUM_THREADS: expected an integer of at least 1, got {text!r}"


@pytest.mark.parametrize(("ours", "numbas", "expected"), [("3", "1", 3), ("", "1", 1), ("2", "", 2)])
def test_threads_of_fastgate_come_before_those_of_numba(ours, numbas, expected):
    home = str(Path(fg.__file__).parents[1])
    environment = os.environ | {"FASTGATE_NUM_THREADS": ours, "PYTHONPATH": home}
    environment |= {"NUMBA_NUM_THREADS": numbas} if numbas else {}
    program = "import fastgate; print(fastgate.get_num_threads())"
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == expected
