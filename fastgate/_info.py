"""What fastgate runs on: for bug reports and benchmark results."""

import importlib.util
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fastgate
from fastgate._arrays import DTYPES
from fastgate._kernels import cpu, jit, on
from fastgate._terminal import say

EXTRAS = (
    "numba-cuda",
    "tqdm",
    "matplotlib",
    "safetensors",
    "scikit-learn",
    "torch",
    "onnx",
    "onnxruntime",
    "jax",
    "keras",
)
MODULES = {"scikit-learn": "sklearn", "numba-cuda": "numba_cuda"}  # where it has another name than the package


def run() -> int:
    for name, value in describe().items():
        say(f"{name:18} {value}")
    return 0


def describe() -> dict[str, str]:
    """Everything `fastgate info` tells, in its order."""
    features = cpu.features
    packages = {name: _version(name) or "not installed" for name in ("numba", "llvmlite", "numpy", "scipy")}
    lanes = ", ".join(f"{features.lanes(dtype)} {name}" for name, dtype in DTYPES.items())
    return {
        "fastgate": f"{fastgate.__version__}, in {Path(fastgate.__file__).parent}",
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        **packages,
        "CPU": f"{cpu_name()} (LLVM: {features.CPU_NAME})",
        "instruction set": instruction_set(),
        "vectors": f"{8 * features.VECTOR_BYTES} bits: {lanes}",
        "multiply-add": "fused" if features.HAS_FMA else "multiply, then add: no FMA",
        "register tile": f"{features.TILE_ROWS} rows x {features.TILE_COLUMNS} vectors",
        "threads": str(fastgate.get_num_threads()),
        "kernel cache": cache_state(),
        "further kernels": "activations, clip, coupled, peepholes, proj_size: fused too, compiled on first use",
        "recurrent_dropout": "fused too, by a product for each gate; never shared out by units; compiled on first use",
        "kernel sources": jit.SOURCE_HASH,
        "device='cuda'": device(),
        **{name: _version(name) or "not installed (optional)" for name in EXTRAS},
    }


def device() -> str:
    """The GPU that layers can run on, or what there is not."""
    cuda = on("cuda")
    missing = cuda.missing()
    return f"none: {missing}" if missing else str(cuda.device_name())


def cache_state() -> str:
    directory = jit.cache_directory()
    if directory is not None:
        return str(directory)
    return "no directory is writable" if jit.CACHE_ENABLED else "off (FASTGATE_CACHE=0)"


def instruction_set() -> str:
    return str(cpu.features.INSTRUCTION_SET)


def cpu_name() -> str:
    """As the system calls it; Python alone knows the kind only."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    if importlib.util.find_spec(MODULES.get(package, package)) is None:
        return None
    try:
        return version(package)
    except PackageNotFoundError:
        return "installed, version unknown"
