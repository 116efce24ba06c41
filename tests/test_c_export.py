"""Models as C: compiled without a warning, they give the values, and in recurrent layers the bits, of fastgate."""

import shutil
import subprocess

import numpy as np
import pytest
from c_tools import COMPILER, STRICT, Compiled, compile_c, needs_compiler
from cases import CELLS, make
from complaints import complaint
from kernel_tools import bits
from test_cell_options import VARIANTS, made

import fastgate as fg
from fastgate.__main__ import main
from fastgate.c.equations import Functions
from fastgate.c.files import files
from fastgate.c.literals import literals
from fastgate.c.parts import ENTRIES, ROWS
from fastgate.kernels.cpu import features
from fastgate.kernels.nonlinearities import activation

pytestmark = needs_compiler
STEPS = 5


def inputs(model, size, seed=0):
    return np.random.default_rng(seed).standard_normal((STEPS, size)).astype(model.dtype)


def in_steps(model, x):
    state, outputs = None, []
    for row in x:
        y, state = model.step(row, state)
        outputs.append(y)
    return np.stack(outputs), state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_bits(cell, dtype, tmp_path):
    layer = make(cell, 3, 19, num_layers=2, dtype=dtype)
    x, compiled = (
        inputs(layer, 3),
        Compiled(layer, tmp_path, "-O3", "-std=gnu99"),
    )  # which fuses what it can, unless told
    expected, state = in_steps(layer, x)
    np.testing.assert_array_equal(bits(compiled.run(x)), bits(expected))
    own = np.concatenate([part.reshape(-1) for part in (state if isinstance(state, tuple) else (state,))])
    np.testing.assert_array_equal(compiled.state[: own.size], own)
    assert np.isnan(compiled.state[own.size])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_bits_with_options(variant, tmp_path):
    layer = made(variant, 3, 5, num_layers=2)
    x = inputs(layer, 3)
    x[-1] = np.nan
    found, expected = Compiled(layer, tmp_path).run(x), layer(x)[0]
    np.testing.assert_array_equal(bits(found[:-1]), bits(expected[:-1]))
    np.testing.assert_array_equal(found[-1], expected[-1])


@pytest.mark.skipif(features.IS_ARM, reason="has no flags for what is tested")
def test_no_flag_makes_it_wrong(tmp_path):
    """Rounding by adding and subtracting a large number takes sums in their order, and no wider than they are."""
    layer = make("lstm", 3, 5, dtype="float64")
    x = inputs(layer, 3)
    x[2, 0] = np.nan
    compiled = Compiled(layer, tmp_path, "-O3", "-ffast-math", "-march=x86-64")  # which has no FMA
    np.testing.assert_allclose(compiled.run(x), in_steps(layer, x)[0], rtol=1e-12)
    done = subprocess.run([COMPILER, "-mfpmath=387", "-c", "model.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode
    assert "compile with -msse2 -mfpmath=sse" in done.stderr


def every_part():
    for seed, function in enumerate(("relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh")):
        yield fg.Linear(6, 6, bias=seed % 2 == 0, seed=seed, dtype="float64")
        yield fg.Activation(function)
    yield fg.Sequential(fg.LayerNorm(6, dtype="float64"), fg.Dropout(0.5), fg.RNN(6, 4, dtype="float64", seed=1))
    yield fg.Linear(4, 3, seed=20, dtype="float64")


EXTREME = np.array(
    [
        [-np.inf, -1000, -100, -20, -1e-30, -0.0],
        [0.0, 1e-30, 20, 100, 1000, np.inf],
        [np.nan, 1, -2, 3, -4, 5],
        [1, -2, np.nan, 3, -4, 5],
        [-1000, -3000, -2000, -1500, -1000, -999],  # of which softmax must take the largest first
    ]
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [*ENTRIES, *ROWS])
def test_extreme_values(function, dtype, tmp_path):
    table = fg.Embedding(*EXTREME.shape, dtype=dtype)
    table.params["weight"] = EXTREME  # weights that are not finite, too
    model, numbers = fg.Sequential(table, fg.Activation(function)), range(len(EXTREME))
    expected = model(np.array([numbers]))[0]
    tolerance = 100 * np.finfo(dtype).eps  # two libraries' erfc(14)
    np.testing.assert_allclose(Compiled(model, tmp_path).run(numbers), expected, rtol=tolerance, atol=0)


def test_the_stack_is_what_the_header_says(tmp_path):
    layer = fg.LSTM(30, 100, 2, proj_size=40, dtype="float64", seed=0)
    Compiled(layer, tmp_path, "-O0", "-fstack-usage")
    used = [line.split(":")[-1].split("\t") for line in (tmp_path / "model.su").read_text().splitlines()]
    deepest = sum(int(size) for name, size, _ in used if name in ("accumulate", "lstm_l1", "model_step"))
    said = int((tmp_path / "model.h").read_text().split("takes some ")[1].split()[0])
    assert said == pytest.approx(deepest, rel=0.1)


@pytest.mark.parametrize("last", ["softmax", "log_softmax"])
def test_a_model_of_every_part(last, tmp_path):
    model = fg.Sequential(fg.Embedding(9, 6, dtype="float64", seed=0), *every_part(), fg.Activation(last))
    compiled, numbers = Compiled(model, tmp_path), [0, 8, 3, 3]
    np.testing.assert_allclose(compiled.run(numbers), in_steps(model, np.array(numbers))[0], rtol=1e-12)
    before = compiled.state.copy()
    assert [compiled.step(number) for number in (-1, 9, 2**31 - 1, -(2**31))] == [1] * 4
    np.testing.assert_array_equal(compiled.state, before)


def test_a_model_without_states(tmp_path):
    model = fg.Sequential(fg.Linear(3, 2, seed=0), fg.Dropout(0.1))
    x = inputs(model, 3)
    np.testing.assert_array_equal(Compiled(model, tmp_path).run(x), model(x))


def test_numbers_are_written_exactly():
    rng = np.random.default_rng(0)
    for integer, dtype in ((np.uint32, np.float32), (np.uint64, np.float64)):
        values = rng.integers(0, np.iinfo(integer).max, 20000, integer, endpoint=True).view(dtype)  # of any size
        values = np.concatenate(
            [values[np.isfinite(values)], np.array([0, -0.0, 1, 1e7, np.finfo(dtype).tiny / 8], dtype)]
        )
        again = np.array(
            [text.removesuffix("f") for text in literals(values)], np.float64 if dtype == np.float64 else dtype
        )
        np.testing.assert_array_equal(bits(again.astype(dtype)), bits(values))
    assert literals(np.array([np.inf, -np.inf, np.nan], np.float32)) == ["INFINITY", "-INFINITY", "NAN"]


PROGRAM = """
#include "model.h"
#include <stdio.h>
int main(void)
{
    model_state state;
    float x[MODEL_INPUTS] = {0.5f, -0.25f, 2.0f}, y[MODEL_OUTPUTS];
    model_init(&state);
    for (int t = 0; t < 3; t++) model_step(&state, x, y);
    for (int j = 0; j < MODEL_OUTPUTS; j++) printf("%a\\n", y[j]);
    return 0;
}
"""
FORTRAN = """
program main
  use model
  use, intrinsic :: iso_c_binding
  type(model_state) :: state
  real(c_float) :: x(model_inputs) = [0.5, -0.25, 2.0], y(model_outputs)
  integer :: t
  call model_init(state)
  do t = 1, 3
    call model_step(state, x, y)
  end do
  print "(es16.8)", y
end program
"""


@pytest.fixture
def small(tmp_path):
    """A model in C, and what three steps of the same input give."""
    model = fg.Sequential(fg.LSTM(3, 5, 2, seed=0), fg.GRU(5, 3, seed=1, reset_after=False), fg.Linear(3, 2, seed=2))
    fg.to_c(model, tmp_path)
    return tmp_path, in_steps(model, np.array([[0.5, -0.25, 2.0]] * 3, np.float32))[0][-1]


@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_program_without_undefined_behaviour(small, language):
    folder, expected = small
    (folder / "main.c").write_text(PROGRAM)
    compile_c(*STRICT, "-c", "-g", "-fsanitize=address,undefined", "model.c", folder=folder)
    strict = STRICT if language == "c" else ["-std=c++11", *STRICT[1:]]
    compile_c("-x", language, *strict, "-c", "-g", "main.c", folder=folder)
    compile_c("-fsanitize=address,undefined", "main.o", "model.o", "-lm", "-o", "main", folder=folder)
    done = subprocess.run([folder / "main"], capture_output=True, text=True, timeout=60)
    assert not done.stderr
    np.testing.assert_allclose([float.fromhex(word) for word in done.stdout.split()], expected, rtol=1e-6)


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="there is no Fortran compiler")
def test_a_program_in_fortran(small):
    folder, expected = small
    (folder / "main.f90").write_text(FORTRAN)
    compile_c(*STRICT, "-c", "model.c", folder=folder)
    command = ["gfortran", "-std=f2003", "-Wall", "-Werror", "model.f90", "main.f90", "model.o", "-lm", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    done = subprocess.run([folder / "main"], capture_output=True, text=True, timeout=60, check=True)
    np.testing.assert_allclose([float(word) for word in done.stdout.split()], expected, rtol=1e-6)


def test_every_activation_has_a_text():
    """Those of the cells that the tests above leave out."""
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        functions = Functions(dtype)
        for name in ("thresholded_relu", "linear", "leaky_relu", "elu", "softplus", "hard_sigmoid"):
            parameters = fg.kernels.nonlinearities.DEFAULTS[name]
            assert functions.name_of(activation(name, parameters).function).startswith(name)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (fg.LSTM(2, 3, bidirectional=True), "LSTM: .*bidirectional"),
        (fg.Sequential(fg.LSTM(2, 3), fg.FinalState()), r"layer 1 \(FinalState\): .*no step"),
        (fg.Sequential(fg.Linear(2, 2), fg.Sequential(fg.GRU(2, 3, bidirectional=True))), r"layer 1.0 \(GRU\): "),
        (fg.LSTM(2, 3).quantized("int8"), "Quantized: "),
        (fg.Sequential(fg.Embedding(5, 2, mask_zero=True), fg.LSTM(2, 3)), r"layer 0 \(Embedding\): .*masks steps"),
        (fg.Sequential(fg.Linear(2, 2), fg.Masking()), r"layer 1 \(Masking\): "),
        (fg.Sequential(fg.LSTM(2, 3), fg.Reverse()), r"layer 1 \(Reverse\): .*no step"),
        (fg.Sequential(fg.Activation("tanh")), "how many features"),
        ("model.safetensors", "layer"),
        (fg.EncoderDecoder(fg.Sequential(fg.RNN(2, 3)), fg.Sequential(fg.RNN(2, 3))), "EncoderDecoder"),
    ],
)
def test_what_has_no_step_is_refused_by_name(model, named, tmp_path):
    with pytest.raises((TypeError, ValueError), match=named):
        fg.to_c(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, capsys):
    layer, path, out = fg.GRU(2, 3, seed=0), tmp_path / "gru.safetensors", tmp_path / "out"
    fg.save(path, layer)
    assert main(["export-c", str(path), str(out), "--name", "gru"]) == 0
    assert str(out / "gru.h") in capsys.readouterr().out
    assert {file.name: file.read_text() for file in out.iterdir()} == files(layer, "gru")

    amplifier = fg.Sequential(fg.LSTM(1, 3, seed=0), fg.Linear(3, 1, seed=1))
    fg.to_rtneural(amplifier, tmp_path / "amplifier.json")
    assert main(["export-c", str(tmp_path / "amplifier.json"), str(tmp_path / "plugin")]) == 0
    read = fg.from_rtneural(tmp_path / "amplifier.json")
    assert {file.name: file.read_text() for file in (tmp_path / "plugin").iterdir()} == files(read, "model")

    fg.to_torch(layer, tmp_path / "gru.pt")  # does not say which axis is the batch's
    assert main(["export-c", str(tmp_path / "gru.pt"), str(tmp_path / "of_pt"), "--name", "gru"]) == 0
    assert (tmp_path / "of_pt" / "gru_weights.h").read_text() == files(layer, "gru")["gru_weights.h"]

    fg.save(path, fg.GRU(2, 3, bidirectional=True))
    for bad in (path, tmp_path / "missing"):
        assert main(["export-c", str(bad), str(tmp_path / "none")]) == 2
        assert capsys.readouterr().err.startswith("fastgate: error: ")
    assert not (tmp_path / "none").exists()


def test_where_no_files_can_be(tmp_path):
    """Nothing is left behind, and missing folders are made."""
    layer, taken, half = fg.RNN(2, 3), tmp_path / "taken", tmp_path / "half"
    taken.touch()
    (half / "model.f90").mkdir(parents=True)
    for folder, error, piece in (
        (taken, FileExistsError, "taken' is no folder and cannot be made one: File exists"),
        (taken / "inside", NotADirectoryError, "cannot be made one"),
        (half, OSError, "model.f90' is no ordinary file"),
        (None, TypeError, "expected the path of a folder, got None"),
    ):
        with complaint(error, "folder", piece):
            fg.to_c(layer, folder)
    assert [path.name for path in half.iterdir()] == ["model.f90"]
    assert all(path.is_file() for path in fg.to_c(layer, tmp_path / "deep" / "er"))


@pytest.mark.parametrize("name", ["", "2nd", "a-b", "a b", "x" * 25, 3, "Math", "stdint"])
def test_names_are_identifiers_and_hide_no_header(name, tmp_path):
    with pytest.raises(ValueError, match=r"name: expected (letters, digits|one that is not of a header)"):
        fg.to_c(fg.RNN(2, 3), tmp_path, name=name)
