"""The machine code of the inner loop: fused multiply-adds on whole registers, and nothing kept on the stack.

Each CPU has one process that compiles a product anew, because only then its assembly can be read.
"""

import platform
import re

import pytest
from kernel_tools import run_python
from test_instruction_sets import environment_of

from fastgate.kernels.cpu import features
from fastgate.kernels.cpu.tile import UNROLLED

REGISTERS = {"AVX-512": "zmm", "AVX2": "ymm"}
SHAPES = {"AVX-512": (6, 4), "AVX2": (3, 4)}  # the largest tile
ELEMENTS = ["float", "double"]


@pytest.fixture(scope="module", params=["host", "AVX2"])
def compiled(request):
    """The instruction set compiled for, and the assembly of the products in both precisions."""
    environment = {}
    if request.param == "host":
        if platform.machine().lower() not in ("x86_64", "amd64") or features.INSTRUCTION_SET not in REGISTERS:
            pytest.skip(f"reads AVX2 and AVX-512, and this CPU has {features.INSTRUCTION_SET}")
    else:
        environment = environment_of(request.param)
    code = "import cpu_probe; from fastgate.kernels.cpu import features; print(features.INSTRUCTION_SET)\n"
    done = run_python(code + "for text in cpu_probe.assembly(): print(text)", FASTGATE_CACHE="0", **environment)
    return done.stdout.split("\n", 1)


def function(text, name):
    """The lines of one function."""
    found = re.search(rf"^{name}:\n(.*?)^\.Lfunc_end", text, re.MULTILINE | re.DOTALL)
    assert found, f"no function {name}"
    return found[1].splitlines()


def loops(lines):
    """Every innermost loop: the lines from a label to the jump back to it."""
    labels, found = {}, []
    for n, line in enumerate(lines):
        if label := re.match(r"(\.LBB\w+):", line):
            labels[label[1]] = n
        jump = re.match(r"\s+j\w+\s+(\.LBB\w+)", line)
        if jump and jump[1] in labels:
            found.append(lines[labels[jump[1]] : n + 1])
    return found


def products(text, rows, columns, element):
    """The loops of a tile that multiply."""
    every = loops(function(text, f"tile_{rows}x{columns}_{element}"))
    return [loop for loop in every if any("vfmadd" in line for line in loop)]


@pytest.mark.parametrize("element", ELEMENTS)
def test_the_largest_tile_lives_in_registers(compiled, element):
    instruction_set, text = compiled
    rows, columns = SHAPES[instruction_set]
    found = products(text, rows, columns, element)
    assert found
    for loop in found:
        fused = [line for line in loop if "vfmadd" in line]
        assert len(fused) % (rows * columns) == 0
        assert all(f"%{REGISTERS[instruction_set]}" in line for line in fused)
        assert all(re.search(rf"vfmadd\d+p{element[0].replace('f', 's')}", line) for line in fused)
        assert not [line for line in loop if "%rsp" in line], "spilled"


@pytest.mark.parametrize("element", ELEMENTS)
def test_one_row_takes_several_steps_at_a_time(compiled, element):
    """Each of them four products, and one by one those that are left over."""
    _, text = compiled
    counts = [sum("vfmadd" in line for line in loop) for loop in products(text, 1, 4, element)]
    assert sorted(counts) == [4, 4 * UNROLLED]
