"""Compile kernels for a GPU that is not there: what a thread costs, and which instructions it runs."""

import re
import shutil
import subprocess
import sysconfig
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from numba import cuda

OF_PIP = Path(sysconfig.get_path("purelib"), "nvidia", "cu13", "bin")  # where the toolkit's wheels put its programs


class Hopper:
    """Stands in for the device whose compute capability numba-cuda asks."""

    compute_capability = (9, 0)


def pretend(monkeypatch):
    """That there is one."""
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", Hopper)


class Compiled(NamedTuple):
    ptx: str
    registers: int
    stack: int
    spills: int
    instructions: Counter  # of the machine's code, without operands
    in_loops: Counter  # those of them that are in some loop


def missing():
    """What is not installed, or nothing."""
    if getattr(cuda, "implementation", "") != "NVIDIA":
        return "numba-cuda"
    return next((name for name in ("ptxas", "nvdisasm") if tool(name) is None), "")


def tool(name):
    """The path of a program of the toolkit, or None."""
    return shutil.which(name, path=OF_PIP) or shutil.which(name)


def compile_offline(program, signature, folder, architecture=(9, 0)):
    """The `Program` for arguments of these types."""
    bounds = {"launch_bounds": (program.threads, 1)}
    ptx, _ = cuda.compile(
        program.function, signature, cc=architecture, device=False, abi="numba", output="ptx", **bounds
    )
    source, binary = folder / "kernel.ptx", folder / "kernel.cubin"
    source.write_text(ptx)
    target = f"-arch=sm_{architecture[0]}{architecture[1]}"
    done = subprocess.run(
        [tool("ptxas"), "-v", "-O3", target, source, "-o", binary], capture_output=True, text=True, check=True
    )
    (registers,) = re.findall(r"Used (\d+) registers", done.stderr)
    stack, *spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes", done.stderr).groups()
    listing = subprocess.run([tool("nvdisasm"), "-c", binary], capture_output=True, text=True, check=True).stdout
    instructions, repeated = instructions_of(listing)
    return Compiled(ptx, int(registers), int(stack), sum(map(int, spills)), Counter(instructions), Counter(repeated))


def instructions_of(listing):
    """All instructions, and those between a label and a jump back to it; the jump at the very end is no loop."""
    found, places, jumps = [], {}, []
    for line in listing.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            places[label[1]] = len(found)
        elif instruction := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+ )?([A-Z][\w.]*)", line):
            if target := re.search(r"BRA.*(\.L_x_\d+)", line):
                jumps.append((len(found), target[1]))
            found.append(instruction[1])
    loops = [(places[label], end) for end, label in jumps if places[label] < end]
    return found, [name for n, name in enumerate(found) if any(first <= n <= end for first, end in loops)]
