"""The command line: wrong arguments, hopeless texts and terminals; `info` and `warmup`."""

import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from command_line_tools import ROOT, TINY, finish, start, write_counting

import fastgate
from fastgate import _info, _terminal, _warmup
from fastgate.__main__ import main
from fastgate._kernels import cpu
from fastgate.demo import program


@pytest.fixture
def counting(tmp_path):
    return write_counting(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"too short", "too short: 9 characters"),
        (b"\x7fELF\0\0\0" + bytes(1000), "is not a text file"),
        ("In UTF-16. ".encode("utf-16") * 1000, "is not a text file"),
    ],
    ids=["empty", "short", "binary", "utf-16"],
)
def test_texts_that_cannot_be_learnt(tmp_path, capsys, content, message):
    path = tmp_path / "text"
    path.write_bytes(content)
    assert main(["--text", str(path), *TINY]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("fastgate: error: ")
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", ["missing.txt", ".", "missing/file.txt"])
def test_texts_that_cannot_be_read(tmp_path, capsys, name):
    assert main(["--text", str(tmp_path / name), *TINY]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("fastgate: error: cannot read ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", ["losses", "losses.txt", "missing/losses.png"])
def test_plots_that_cannot_be_written_are_refused_before_the_training(tmp_path, counting, capsys, name):
    pytest.importorskip("matplotlib")
    assert main(["--text", counting, *TINY, "--plot", str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("fastgate: error: --plot ")
    assert printed.out == ""


def test_plot_needs_matplotlib(counting, capsys, monkeypatch):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    assert main(["--text", counting, *TINY, "--plot", "losses.png"]) == 2
    assert "pip install matplotlib (or fastgate with the extra 'demo')" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hidden", "0"],
        ["--hidden", "-3"],
        ["--hidden", "many"],
        ["--hidden", "1.5"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--seconds", "inf"],
        ["--seconds", "1", "--steps", "1"],
        ["--cell", "transformer"],
        ["--seed", "-1"],
        ["--no-such-option"],
        ["no-such-command"],
        ["--hidden", "16", "info"],
        ["info", "--hidden", "16"],
        ["warmup", "--cell", "transformer"],
        ["warmup", "--dtype", "float16"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "fastgate: error: " in capsys.readouterr().err.replace("fastgate info:", "fastgate:").replace(
        "fastgate warmup:", "fastgate:"
    )


def test_a_closed_pipe_is_no_traceback(counting):
    process = start("--text", counting, *TINY, "--steps", "5")
    process.stdout.close()
    process.stdout = None
    code, _, errors = finish(process)
    assert code == 1
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


def test_a_terminal_without_unicode(tmp_path):
    path = tmp_path / "text"
    path.write_text("żółć " * 2000, "utf-8")
    code, output, errors = finish(start("--text", str(path), *TINY, "--steps", "5", PYTHONIOENCODING="ascii"))
    assert code == 0, errors
    assert "?" in output


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fastgate {fastgate.__version__}\n"


def test_info(capsys):
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    for expected in (fastgate.__version__, np.__version__, cpu.features.INSTRUCTION_SET, "numba", "llvmlite", "scipy"):
        assert expected in output
    told = _info.describe()
    assert told["vectors"].startswith(f"{8 * cpu.features.VECTOR_BYTES} bits: {cpu.features.VECTOR_BYTES // 4} float32")
    assert told["threads"] == str(fastgate.get_num_threads())
    assert re.fullmatch("[0-9a-f]{12}", told["kernel sources"])


def test_info_without_a_cache():
    code, output, errors = finish(start("info", FASTGATE_CACHE="0"))
    assert code == 0, errors
    assert re.search(r"^kernel cache +off \(FASTGATE_CACHE=0\)$", output, re.MULTILINE)


def test_warmup_without_a_cache_is_refused():
    code, output, errors = finish(start("warmup", FASTGATE_CACHE="0"))
    assert (code, output) == (2, "")
    assert "nothing would be kept" in errors


def test_warmup_says_each_row_at_once(capsys, monkeypatch):
    """The announcement of the first compilation would stand in the middle of one."""
    monkeypatch.setattr(_warmup, "warm_up", lambda cell, dtype: _terminal.say("compiling"))
    assert main(["warmup", "--cell", "gru", "--dtype", "float32"]) == 0
    assert re.search(r"^compiling\ngru +float32 +\d+\.\d s$", capsys.readouterr().out, re.MULTILINE)


def test_a_command_that_is_none_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["foo"])
    assert "argument COMMAND: invalid choice: 'foo'" in capsys.readouterr().err


def test_info_lists_what_each_extra_installs():
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    wanted = {
        re.match("[a-z-]+", name)[0] for extra in ("demo", "files", "sklearn", "bench") for name in metadata[extra]
    }
    assert wanted <= _info.describe().keys()


def test_warmup_knows_every_cell():
    assert set(_warmup.LAYERS) == set(cpu.CELLS)
    for name, (make, options) in _warmup.LAYERS.items():
        assert make(1, 1, **options)._cell is cpu.CELLS[name]


def test_warmup_leaves_nothing_to_compile(counting, capsys):
    assert main(["warmup", "--cell", "rnn_tanh", "rnn_tanh", "--dtype", "float32"]) == 0
    assert len(re.findall(r"^rnn_tanh +float32 +\d+\.\d s$", capsys.readouterr().out, re.MULTILINE)) == 1
    code, _, errors = finish(start("--text", counting, *TINY, "--steps", "5"))
    assert code == 0, errors
    assert "compiling" not in errors


COUNT = """
import gc, numpy as np, fastgate as fg
from fastgate import _warmup
from numba.core.dispatcher import Dispatcher
def versions():
    return {(id(d), str(s)) for d in gc.get_objects() if isinstance(d, Dispatcher)
            and d.py_func.__module__.startswith("fastgate.kernels") for s in d.overloads}
_warmup.warm_up("gru", "float32")
before = versions()
layer = fg.GRU(5, 40, 3, bidirectional=True, dropout=0.2, batch_first=False, bias="single", seed=0)
x = np.ones((70, 9, 5), np.float32)
x.flags.writeable = False
y, state, tape = layer.forward(x, rng_key=1)
layer.backward(tape, dstate=state)
layer(x[::2, ::2], lengths=np.arange(5))
layer(x[:, 0])
one = fg.GRU(5, 40)
one.step(x[0]), one.step(x[0, 0])
print(len(before), len(versions() - before))
"""


def test_warmup_compiles_all_that_other_arrays_and_options_need():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, cwd=ROOT, check=True)
    before, new = map(int, done.stdout.split())
    assert before > 5
    assert new == 0
