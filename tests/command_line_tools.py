"""Runs of the command line, small and in processes of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = ["--no-torch", "--hidden", "16", "--batch", "8", "--seq-len", "16", "--cell", "rnn"]
BITS = re.compile(r"^ +(\d+\.\d\d)  (every symbol|each as frequent|\w+\()", re.MULTILINE)


def write_counting(folder):
    """A text in which the next character is nearly always certain; its path."""
    path = folder / "counting.txt"
    path.write_text("".join(f"{n % 10}, " for n in range(5000)))
    return str(path)


def held_out_bits(output):
    """(uniform, unigram, the model's)"""
    found = BITS.findall(output)
    assert [name for _, name in found][:2] == ["every symbol", "each as frequent"]
    assert len(found) == 3
    return [float(bits) for bits, _ in found]


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "fastgate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def finish(process):
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors
