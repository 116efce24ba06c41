"""The same kernels compiled for lesser CPUs than this one: AVX2, AVX without FMA, SSE2.

Numba compiles for whatever NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say; the name alone would keep the host's features.
Each CPU has one process; its kernels are cached beside the host's, under its own name and features.
"""

import platform

import cases
import cpu_probe
import numpy as np
import pytest
import reference
from kernel_tools import run_python
from llvmlite import binding
from numba.core.registry import cpu_target

from fastgate.kernels.cpu import features

SSE4 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16"
CPUS = {
    "AVX2": ("haswell", f"{SSE4},+avx,+avx2,+fma,+bmi,+bmi2,+f16c"),
    "AVX": ("sandybridge", f"{SSE4},+avx"),
    "SSE2": ("x86-64", "+sse,+sse2"),
}
FOUND = {  # bytes in a vector, whether there is FMA, rows of a tile
    "AVX2": (32, True, 3),
    "AVX": (32, False, 3),
    "SSE2": (16, False, 3),
}


def environment_of(cpu):
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("compiles for x86 CPUs, and this is none")
    name, wanted = CPUS[cpu]
    host = binding.get_host_cpu_features()
    missing = [feature for feature in wanted.replace("+", "").split(",") if not host.get(feature)]
    if missing:
        pytest.skip(f"this CPU has no {', '.join(missing)}")
    return {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": wanted}


@pytest.fixture(scope="module", params=CPUS)
def probe(request, tmp_path_factory):
    """What `cpu_probe` finds in a process that compiles for this CPU."""
    environment = environment_of(request.param)
    path = tmp_path_factory.mktemp("probe") / "results.npz"
    run_python("import sys, cpu_probe; cpu_probe.save(sys.argv[1])", path, **environment)
    with np.load(path) as results:
        return dict(results) | {"cpu": request.param}


def test_vectors_and_tiles_are_those_of_the_cpu_compiled_for(probe):
    """Not of the host, which has more."""
    assert probe["instruction_set"] == probe["cpu"]
    assert (probe["vector_bytes"], probe["has_fma"], probe["tile_rows"]) == FOUND[probe["cpu"]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_fused_where_the_cpu_can(probe, dtype):
    assert probe[f"fuses_{dtype}"] == probe["has_fma"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_saturate_exactly(probe, dtype):
    """Rounding differs without FMA, but 1, -1, 1 and 0 must not."""
    for row, expected in zip(probe[f"saturation_{dtype}"], (1, -1, 1, 0), strict=True):
        assert set(row.tolist()) == {expected}


@pytest.mark.parametrize(("cell", "dtype"), cpu_probe.CASES)
def test_outputs(probe, cell, dtype):
    """Against the plain reference: a few units of rounding a step."""
    layer, x, start, _, _ = cpu_probe.inputs(cell, dtype)
    y, end = reference.forward(cell, layer.params, x, start)
    tolerance = {"float32": 4e-6, "float64": 4e-15}[dtype]
    np.testing.assert_allclose(probe[f"{cell}_{dtype}_y"], y, rtol=0, atol=tolerance)
    for n, part in enumerate(end):
        np.testing.assert_allclose(probe[f"{cell}_{dtype}_end{n}"], part, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("cell", "dtype"), cpu_probe.CASES)
def test_gradients(probe, cell, dtype):
    """Against the host's own in float64, which other tests prove; relative to the largest entry of each array."""
    layer, x, start, dy, dstate = cpu_probe.inputs(cell, dtype)
    twin = cases.in_double(layer, cell)
    _, _, tape = twin.forward(x, cases.join(start))
    gradients = twin.backward(tape, dy, cases.join(dstate))
    expected = {"dx": gradients.x, "dparams": gradients.params.flat}
    expected |= {f"dstart{n}": part for n, part in enumerate(cases.split(gradients.state))}
    tolerance = {"float32": 4e-6, "float64": 1e-14}[dtype]
    for name, array in expected.items():
        found = probe[f"{cell}_{dtype}_{name}"]
        np.testing.assert_allclose(found, array, rtol=0, atol=tolerance * np.abs(array).max())


@pytest.mark.parametrize(("cell", "dtype"), cpu_probe.CASES)
def test_bits_do_not_depend_on_parts_and_steps(probe, cell, dtype):
    assert probe[f"{cell}_{dtype}_same_bits"]


@pytest.mark.parametrize("cpu", CPUS)
def test_assembly_calls_no_library_for_fma(cpu):
    """llvm.fma without the instruction is a call of the C library for every element, sixty times slower."""
    code = """
    import cpu_probe
    text = "".join(cpu_probe.assembly())
    words = set(text.replace(",", " ").split())
    print(any(word.startswith("vfmadd") for word in words))
    print(any("fmaf" in word or word.strip('"@PLT') == "fma" for word in words))
    print("mulps" in words or "vmulps" in words)
    """
    done = run_python(code, FASTGATE_CACHE="0", **environment_of(cpu))
    instructions, calls, multiplies = done.stdout.split()
    assert instructions == str(FOUND[cpu][1])
    assert calls == "False"
    assert multiplies == "True"


def test_features_are_those_that_numba_compiles_for():
    """Here for the host: the same words that stand in the key of every cached kernel."""
    triple, name, wanted = cpu_target.target_context.codegen().magic_tuple()
    assert (triple, name) == (features.TRIPLE, features.CPU_NAME)
    assert {word[1:] for word in wanted.split(",") if word.startswith("+")} == features.FEATURES


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padding(dtype):
    width = features.lanes(np.dtype(dtype))
    assert width * np.dtype(dtype).itemsize == features.VECTOR_BYTES
    sizes = [1, width - 1, width, width + 1, 5 * width]
    assert [features.padded(size, np.dtype(dtype)) for size in sizes] == [width, width, width, 2 * width, 5 * width]
