"""A step behind a C function pointer: the bits of `layer.step`, from C, ctypes, cffi, SciPy and many threads."""

import copy
import ctypes
import gc
import shutil
import subprocess
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from c_tools import STRICT, compile_c, needs_compiler, pointer
from cases import make
from scipy.integrate import nquad, quad

import fastgate as fg

STEPS = 6
LAYERS = {
    "lstm_float32": ("lstm", {"dtype": "float32"}),
    "lstm": ("lstm", {}),
    "projected": ("lstm", {"proj_size": 3}),
    "gru_float32": ("gru", {"dtype": "float32"}),
    "gru": ("gru", {}),
    "gru_reset_before": ("gru_reset_before", {}),
    "rnn": ("rnn_tanh", {}),
}


def flat(state):
    return np.concatenate([part.reshape(-1) for part in (state if isinstance(state, tuple) else (state,))])


def in_steps(layer, x):
    state, outputs = None, []
    for row in x:
        y, state = layer.step(row, state)
        outputs.append(y)
    return np.stack(outputs), flat(state)


def by_pointer(step, x):
    """Every array between two entries that nobody may touch."""
    whole = np.full(step.state_size + 2, np.nan, step.dtype)
    state, outputs = whole[1:-1], np.full((len(x), step.output_size + 1), np.nan, step.dtype)
    state[...] = 0
    for row, y in zip(x, outputs, strict=True):
        step.ctypes(step.cell, row.ctypes, state.ctypes, y.ctypes)
    assert np.isnan(whole[[0, -1]]).all()
    assert np.isnan(outputs[:, -1]).all()
    return outputs[:, :-1], state


def drawn(layer, seed=0):
    return np.random.default_rng(seed).standard_normal((STEPS, layer.input_size)).astype(layer.dtype)


@pytest.mark.parametrize(("cell", "options"), LAYERS.values(), ids=LAYERS)
def test_the_bits_of_a_step(cell, options):
    layer = make(cell, 3, 17, num_layers=2, **options)
    for found, expected in zip(by_pointer(layer.cfunc(), drawn(layer)), in_steps(layer, drawn(layer)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_quantized_weights():
    layer = make("gru", 3, 17, num_layers=2, dtype="float32").quantized("int8")
    for found, expected in zip(by_pointer(layer.cfunc(), drawn(layer)), in_steps(layer, drawn(layer)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_it_is_of_the_weights_of_its_moment():
    layer = fg.GRU(3, 17, 2, dtype="float64", seed=0)
    step, x, expected = layer.cfunc(), drawn(layer), in_steps(layer, drawn(layer))[0]
    layer.params.flat = 0.0 * layer.params.flat
    del layer
    gc.collect()
    np.testing.assert_array_equal(by_pointer(step, x)[0], expected)


def test_many_threads_each_with_a_state():
    layer = fg.LSTM(3, 17, 2, seed=0)
    step, inputs = layer.cfunc(), [np.tile(drawn(layer, seed), (50, 1)) for seed in range(16)]
    expected = [in_steps(layer, x)[0] for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for found, one in zip(pool.map(lambda x: by_pointer(step, x)[0], inputs), expected, strict=True):
            np.testing.assert_array_equal(found, one)


PROGRAM = """
typedef void (*step_function)(const void *cell, const double *x, double *state, double *y);

void run(step_function step, const void *cell, const double *x, int inputs, int steps, double *state, double *y);
void run(step_function step, const void *cell, const double *x, int inputs, int steps, double *state, double *y)
{
    for (int t = 0; t < steps; t++)
        step(cell, x + t * inputs, state, y);
}
"""
FORTRAN = """
subroutine run(address, cell, x, inputs, steps, state, y) bind(c)
  use, intrinsic :: iso_c_binding
  implicit none
  abstract interface
    subroutine step_function(cell, x, state, y) bind(c)
      import :: c_ptr, c_double
      type(c_ptr), value :: cell
      real(c_double) :: x(*), state(*), y(*)
    end subroutine
  end interface
  type(c_funptr), value :: address
  type(c_ptr), value :: cell
  integer(c_int), value :: inputs, steps
  real(c_double) :: x(inputs, steps), state(*), y(*)
  procedure(step_function), pointer :: step
  integer :: t
  call c_f_procpointer(address, step)
  do t = 1, steps
    call step(cell, x(:, t), state, y)
  end do
end subroutine
"""


@needs_compiler
@pytest.mark.parametrize("language", ["c", "f90"])
def test_a_compiled_program_calls_it(language, tmp_path):
    layer = fg.GRU(3, 17, 2, dtype="float64", seed=0)
    (tmp_path / "run.c").write_text(PROGRAM)
    (tmp_path / "run.f90").write_text(FORTRAN)
    if language == "c":
        compile_c(*STRICT, "-shared", "-fPIC", "run.c", "-o", "run.so", folder=tmp_path)
    elif shutil.which("gfortran") is None:
        pytest.skip("there is no Fortran compiler")
    else:
        command = ["gfortran", "-std=f2003", "-Wall", "-Werror", "-shared", "-fPIC", "run.f90", "-o", "run.so"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    run, step, x = ctypes.CDLL(str(tmp_path / "run.so")).run, layer.cfunc(), drawn(layer)
    state, y = step.new_state(), np.empty(17)
    address, cell = ctypes.c_void_p(step.address), ctypes.c_void_p(step.cell)
    run(address, cell, pointer(x), 3, STEPS, pointer(state), pointer(y))
    expected, end = in_steps(layer, x)
    np.testing.assert_array_equal(y, expected[-1])
    np.testing.assert_array_equal(state, end)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cffi_takes_its_signature(dtype):
    ffi = pytest.importorskip("cffi").FFI()
    layer = fg.GRU(3, 17, 2, dtype=dtype, seed=0)
    step, x = layer.cfunc(), drawn(layer)
    call, state, y = ffi.cast(step.signature, step.address), step.new_state(), np.empty(17, dtype)
    for row in x:
        given = (ffi.cast(f"{step.signature.split()[5]} *", array.ctypes.data) for array in (row, state, y))
        call(ffi.cast("void *", step.cell), *given)
    np.testing.assert_array_equal(y, in_steps(layer, x)[0][-1])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_scipy_integrates_it(dtype, tolerance):
    """In float32 the integrand is rounded, which is as far as any quadrature can be right."""
    layer = fg.GRU(3, 17, 2, dtype=dtype, seed=0)
    _, state = in_steps(layer, drawn(layer))
    step = layer.cfunc()
    value, kept = step.low_level_callable(state, output=4), weakref.ref(step)
    start = state.reshape(2, 17).copy()
    state[...] = np.nan  # it has its own
    del step
    gc.collect()
    assert kept() is not None

    def in_python(*x):
        return layer.step(np.array(x), start)[0][4]

    expected = quad(in_python, -1, 2, args=(0.5, -0.25))[0]
    assert quad(value, -1, 2, args=(0.5, -0.25))[0] == pytest.approx(expected, rel=tolerance)
    if dtype == "float64":
        ranges, few = [(0, 1), (0, 1), (-1, 0)], {"epsabs": 1e-3}
        assert nquad(value, ranges, opts=few)[0] == pytest.approx(nquad(in_python, ranges, opts=few)[0], rel=1e-12)
    assert np.isnan(value.function(1, (ctypes.c_double * 1)(0.5), value.user_data))  # one input, where it has three


def test_refusals():
    with pytest.raises(TypeError, match="CFunction: holds addresses"):
        copy.deepcopy(fg.GRU(3, 17, 2, dtype="float64").cfunc())
    with pytest.raises(ValueError, match="cfunc: a bidirectional layer needs the whole sequence"):
        fg.LSTM(2, 3, bidirectional=True).cfunc()
    step = fg.GRU(3, 17, 2, dtype="float64", seed=0).cfunc()
    with pytest.raises(ValueError, match=r"state: expected shape \(34,\), got \(33,\)"):
        step.low_level_callable(np.zeros(33))
    with pytest.raises(ValueError, match="output: expected at most 16, got 17"):
        step.low_level_callable(output=17)
