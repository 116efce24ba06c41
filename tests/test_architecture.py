"""The rules of the house: who imports whom, what says its shapes, how long a file may be."""

import ast
import inspect
import re
import sys
import tomllib

import pytest
from kernel_tools import ROOT, run_python

import fastgate
from fastgate.kernels import cpu

LONGEST_FILE = 300  # lines: what one reads in one sitting
FASTGATE = sorted(
    path
    for folder in ("", "convert", "demo", "examples", "exchange", "sklearn", "training", "c")
    for path in (ROOT / "fastgate" / folder).glob("*.py")
)
EXAMPLES = [path for path in FASTGATE if path.parent.name == "examples" and not path.name.startswith("_")]
PUBLIC_MODULES = {"fastgate.xarray.apply", "fastgate.jit"}
COMPILED_EXAMPLES = {"neural_closure.py", "audio_effect.py", "_guitar.py"}  # with loops of their own
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

KERNELS_MAY_IMPORT = {
    *(
        "contextlib",
        "copy",
        "atexit",
        "ctypes",
        "functools",
        "hashlib",
        "inspect",
        "itertools",
        "math",
        "operator",
        "os",
        "pathlib",
        "queue",
        "sys",
        "threading",
        "time",
        "types",
    ),
    *("typing", "llvmlite", "numba", "numba_cuda", "numpy"),
    "cuda",  # of NVIDIA, where there is one
}
# Everything else takes its kernels from there.
FASTGATE_MAY_IMPORT = {
    "_kernels.py": {
        "fastgate.kernels.activations.BY_PRECISION",
        "fastgate.kernels.arithmetic",
        "fastgate.kernels.cpu",
        "fastgate.kernels.cpu.embedded",
        "fastgate.kernels.cuda",
        "fastgate.kernels.jit",
        "fastgate.kernels.memory",
    },
}
# What users' compiled code calls, so that nothing can stand between.
CALLED_FROM_COMPILED_CODE = {"jit.py": "fastgate.kernels.cpu.embedded"}


def name_of(path):
    return str(path.relative_to(ROOT))


def imports_of(path):
    """Dotted names of all modules that a file imports, wherever in it; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively: write the whole name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def below(name, package):
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_kernels_know_numba_numpy_and_themselves(path):
    for name in imports_of(path):
        assert below(name, "fastgate.kernels") or name.split(".")[0] in KERNELS_MAY_IMPORT


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_devices_do_not_know_each_other(path):
    other = {"cpu": "cuda", "cuda": "cpu"}.get(path.parent.name)
    for name in imports_of(path):
        if other is None:  # what is common to both, and must not know either
            assert not below(name, "fastgate.kernels.cpu")
            assert not below(name, "fastgate.kernels.cuda")
        else:
            assert not below(name, f"fastgate.kernels.{other}")
        assert path.parent.name == "cuda" or not below(name, "numba.cuda")


@pytest.mark.parametrize("path", FASTGATE, ids=name_of)
def test_fastgate_takes_its_kernels_from_one_place(path):
    called = CALLED_FROM_COMPILED_CODE.get(path.name, "nothing")
    taken = {name for name in imports_of(path) if below(name, "fastgate.kernels") and not name.startswith(called)}
    assert taken <= FASTGATE_MAY_IMPORT.get(path.name, set())


@pytest.mark.parametrize(
    "path", [path for path in FASTGATE if path.name not in {*FASTGATE_MAY_IMPORT, *COMPILED_EXAMPLES}], ids=name_of
)
def test_fastgate_knows_nothing_of_compilation(path):
    assert not any(below(name, package) for name in imports_of(path) for package in ("numba", "llvmlite"))


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_examples_need_only_what_is_public(path):
    """What is copied works elsewhere, but for the lines that the command line is made of."""
    inside = [name for name in imports_of(path) if below(name, "fastgate") and name != "fastgate"]
    assert inside
    assert all(below(name, "fastgate.examples") or name in PUBLIC_MODULES for name in inside)


def test_the_rules_see_a_breach(tmp_path):
    """A rule that can see nothing holds always."""
    path = tmp_path / "breach.py"
    path.write_text("def f():\n    import fastgate.lstm\n    from fastgate.kernels import cuda\n", encoding="utf-8")
    assert list(imports_of(path)) == ["fastgate.lstm", "fastgate.kernels.cuda"]
    assert not below("fastgate.lstm", "fastgate.kernels")
    assert len(KERNELS) > 15
    assert len(FASTGATE) > 15


def test_kernels_is_no_module_of_its_own():
    """A second copy of the kernels beside fastgate.kernels, under a name that belongs to another project."""
    done = run_python("import kernels", check=False)
    assert done.returncode == 1
    assert "ImportError: import fastgate.kernels, not kernels" in done.stderr


def test_import_is_light():
    """CUDA, PyTorch and the tools of the command line come only when they are asked for."""
    done = run_python("import sys, fastgate; print(*sys.modules)")
    heavy = [
        "numba.cuda",
        "torch",
        "matplotlib",
        "tqdm",
        "onnx",
        "onnxruntime",
        "safetensors",
        "keras",
        "h5py",
        "scipy.linalg",
        "sklearn",
        "pytest",
        *("xarray", "dask", "distributed", "zarr", "mpi4py"),
    ]
    assert set(heavy).isdisjoint(done.stdout.split())


# ----------------------------------------------------------------------------------------------------------- docstrings

SHAPE = re.compile(r"\([A-Z0-9][A-Za-z0-9*+/,]*\)")  # (B,H) or (3B+P,Hp), without spaces
# What fastgate calls and takes no arrays.
WITHOUT_ARRAYS = {
    "cell",
    "give_way",
    "part_of_batch",
    "parts_for",
    "philox",
    "scratch",
    "Schedule",
    "slices_for",
    "steps_of_stretch",
    "uniform_schedule",
}


def is_jit(decorator):
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called) in ("jit", "cuda.jit")


def kernels_in(path):
    """Functions compiled by @jit, closures too, except those private to their file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        compiled = isinstance(node, ast.FunctionDef) and any(map(is_jit, node.decorator_list))
        if compiled and not node.name.startswith("_"):
            yield node


COMPILED = {f"{name_of(path)}:{node.name}": node for path in KERNELS for node in kernels_in(path)}


@pytest.mark.parametrize("name", COMPILED)
def test_every_kernel_says_its_shapes(name):
    node = COMPILED[name]
    docstring = ast.get_docstring(node) or ""
    assert node.name in WITHOUT_ARRAYS or SHAPE.search(docstring), f"{name}: {docstring!r} has no shape like (B,H)"


def test_every_kernel_is_found():
    assert {"kernels/cpu/lstm.py:step_forward", "kernels/cpu/sequences.py:backward"} <= COMPILED.keys()


CALLED_BY_FASTGATE = {
    f"{module.__name__}.{name}": value
    for module in (cpu, cpu.dense)
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__.startswith("fastgate.kernels.") and not name.startswith("_")
    if module is cpu or value.__module__ == module.__name__  # not what dense itself imports
}


@pytest.mark.parametrize("name", CALLED_BY_FASTGATE)
def test_what_fastgate_calls_says_its_shapes(name):
    function = CALLED_BY_FASTGATE[name]
    assert function.__name__ in WITHOUT_ARRAYS or SHAPE.search(function.__doc__ or "")


@pytest.mark.parametrize("path", [*FASTGATE, *KERNELS], ids=name_of)
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", fastgate.__all__)
def test_everything_public_has_a_docstring(name):
    """Methods too, where they are the class's own."""
    public = getattr(fastgate, name)
    assert inspect.getdoc(public)
    if inspect.isclass(public):
        for part, value in vars(public).items():
            if not part.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{part}"


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("path", [*FASTGATE, *KERNELS, *TESTS], ids=name_of)
def test_no_file_is_longer_than_a_reading(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_every_package_is_installed():
    """The link fastgate/kernels hides from setuptools what it does not list, but not from a checkout."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(configuration["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for path in KERNELS if path.name == "__init__.py"}
    names = "bench", "bench.peers", "convert", "demo", "examples", "exchange", "sklearn", "training", "c"
    parts = ("fastgate", *(f"fastgate.{name}" for name in names))
    assert listed == {*parts, *(".".join(("fastgate", *folder.parts)) for folder in folders)}
    assert configuration["project"]["version"] == fastgate.__version__


def test_the_kernels_of_this_process_are_those_of_this_checkout():
    """Not of an installed copy, which all other tests would then prove."""
    assert (ROOT / "fastgate" / "__init__.py").samefile(fastgate.__file__)
    assert (ROOT / "kernels" / "cpu" / "__init__.py").samefile(sys.modules["fastgate.kernels.cpu"].__file__)
