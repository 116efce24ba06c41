"""Tell asv what this machine is, and print its name: python asv_benchmarks/machine.py

The name is the kind of CPU, so that histories of different CPUs are never joined.
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

# (vendor, family) of /proc/cpuinfo -> models, name, description: a virtual machine often hides its CPU's full name.
KNOWN = {
    ("AuthenticAMD", 25): [
        (range(0x10, 0x20), "epyc-zen4", "AMD EPYC (Zen 4, AVX-512)"),
        (range(0xA0, 0xB0), "epyc-zen4c", "AMD EPYC (Zen 4c, AVX-512)"),
        (range(0x00, 0x10), "epyc-zen3", "AMD EPYC (Zen 3, AVX2)"),
    ],
    ("AuthenticAMD", 26): [(range(0x00, 0x20), "epyc-zen5", "AMD EPYC (Zen 5, AVX-512)")],
}


def kind(cpuinfo):
    """The text of /proc/cpuinfo -> a name fit for a folder, and one for people."""
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", cpuinfo, re.MULTILINE))
    description = fields.get("model name", platform.processor() or platform.machine())
    family, model = (int(fields.get(name, -1)) for name in ("cpu family", "model"))
    if "EPYC" in description:
        for models, name, known_as in KNOWN.get((fields.get("vendor_id"), family), ()):
            if model in models:
                return name, known_as
    # The clock is no part of a CPU's kind.
    words = re.sub(r"\((R|TM)\)|CPU|Processor|@.*", " ", description, flags=re.IGNORECASE)
    name = "-".join(re.findall(r"[a-z0-9]+", words.lower()))
    return (f"{name}-{family}-{model}" if model >= 0 else name), description


def memory():
    return f"{round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30)} GB"


def register():
    """In asv's own list, ~/.asv-machine.json; its name."""
    path = Path("/proc/cpuinfo")
    name, description = kind(path.read_text("utf-8") if path.exists() else "")
    machine = {
        "machine": name,
        "os": platform.system(),
        "arch": platform.machine(),
        "cpu": description,
        "num_cpu": os.cpu_count(),
        "ram": memory(),
    }
    options = [text for key, value in machine.items() for text in (f"--{key}", str(value))]
    config = Path(__file__).with_name("asv.conf.json")
    command = [sys.executable, "-m", "asv", "machine", "--yes", "--config", str(config), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return name


if __name__ == "__main__":
    sys.stdout.write(f"{register()}\n")
