"""The command line: `python -m fastgate`, or `fastgate`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastgate
from fastgate import _info, _warmup
from fastgate._arrays import DTYPES
from fastgate._kernels import DEVICES
from fastgate._options import at_least, positive
from fastgate._terminal import exit_code
from fastgate.bench import program as bench
from fastgate.bench.peers import LIBRARIES
from fastgate.c import program as export_program
from fastgate.convert import program as convert
from fastgate.convert.formats import FORMATS
from fastgate.demo import program
from fastgate.demo.model import CELLS


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Wrong arguments end the process with 2, as argparse does."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is not None and arguments[0] != options.command:
        parser.error(f"{options.command} takes none of the demo's options")
    return exit_code("fastgate", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if options.command == "info":
        return _info.run()
    if options.command == "warmup":
        cells = list(_warmup.LAYERS) if "all" in options.cells else options.cells
        dtypes = list(DTYPES) if "all" in options.dtypes else options.dtypes
        return _warmup.run(dict.fromkeys(cells), dict.fromkeys(dtypes))
    if options.command == "export-c":
        return export_program.run(options.model, options.folder, options.name)
    if options.command == "bench":
        return bench.run(options)
    if options.command == "convert":
        return convert.run(options)
    return program.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastgate",
        description="Without a command: a demo, in which a character-level language model learns a text.",
        epilog="Ctrl-C ends the demo's training early and shows what it has learnt; the exit code is then 0.",
    )
    parser.add_argument("--version", action="version", version=f"fastgate {fastgate.__version__}")
    demo = parser.add_argument_group("the demo")
    demo.add_argument("--text", type=Path, metavar="FILE", help="what to learn (default: Python's standard library)")
    demo.add_argument("--cell", choices=CELLS, default="lstm", help="default: %(default)s")
    demo.add_argument("--hidden", type=at_least(1), default=256, metavar="H", help="units (default: %(default)s)")
    demo.add_argument("--layers", type=at_least(1), default=1, metavar="N", help="default: %(default)s")
    demo.add_argument("--batch", type=at_least(1), default=32, metavar="B", help="default: %(default)s")
    demo.add_argument(
        "--seq-len", type=at_least(1), default=64, metavar="T", help="characters of a training step (%(default)s)"
    )
    length = demo.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds", type=positive, default=40.0, metavar="S", help="of training (default: %(default)g)"
    )
    length.add_argument("--steps", type=at_least(1), metavar="N", help="train so many steps, however long it takes")
    demo.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="default: %(default)s")
    demo.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    demo.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the loss curves (needs matplotlib)")

    commands = parser.add_subparsers(dest="command", title="other commands", metavar="COMMAND")
    commands.add_parser("info", help="versions, what the kernels are compiled for, where they are cached")
    warmup = commands.add_parser(
        "warmup",
        help="compile all kernels now, so that no later process has to",
        description="Compile all kernels now, so that no later process has to.",
    )
    warmup.add_argument(
        "--cell", dest="cells", nargs="+", choices=[*_warmup.LAYERS, "all"], default=["all"], help="default: all"
    )
    warmup.add_argument(
        "--dtype", dest="dtypes", nargs="+", choices=[*DTYPES, "all"], default=["float32"], help="default: float32"
    )
    export = commands.add_parser(
        "export-c",
        help="write the inference step of a saved model as C source, for programs without Python",
        description="Write the inference step of a model as C99 source; see fastgate.to_c. MODEL is what convert reads;"
        " a file that does not say all, as a state_dict of several modules, goes through convert first.",
    )
    export.add_argument("model", type=Path, metavar="MODEL", help="a file of fastgate.save, or of another library")
    export.add_argument("folder", type=Path, metavar="OUT", help="where to write NAME.h, NAME.c and others")
    export.add_argument("--name", default="model", metavar="NAME", help="default: %(default)s")
    _add_bench(commands)
    _add_convert(commands)
    return parser


def _add_bench(commands: Any) -> None:
    text = "Time fastgate and every peer that is installed on the same work, in turn."
    command = commands.add_parser(
        "bench", help="how fast fastgate is beside its peers, on this machine", description=text
    )
    command.add_argument("--shapes", nargs="+", metavar="B,T,I,H", help="B,I,H for steps (default: two dozen)")
    for option, choices, default in (
        ("cell", bench.CELLS, "lstm"),
        ("mode", bench.MODES, "inference"),
        ("dtype", DTYPES, "float32"),
    ):
        command.add_argument(
            f"--{option}",
            dest=f"{option}s",
            nargs="+",
            choices=list(choices),
            default=[default],
            help="default: " + default,
        )
    command.add_argument("--device", choices=DEVICES, default="cpu", help="cuda: on a GPU, beside PyTorch's cuDNN")
    command.add_argument("--threads", nargs="+", type=at_least(1), metavar="N", help="default: 1, and all")
    command.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES, help="default: all installed")
    command.add_argument(
        "--seconds", type=positive, default=60.0, metavar="S", help="of timing, unless that is too few (%(default)g)"
    )
    command.add_argument("--json", type=Path, metavar="FILE.json", help="write all figures")
    command.add_argument("--folder", type=Path, help="of a GPU: write tables and all figures there, row by row")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw ratios and roofline (needs matplotlib)")


def _add_convert(commands: Any) -> None:
    text = (
        "Read weights of one library, write them for another, and compare both on random input. Formats by their names:"
    )
    endings = "; ".join(f"{' '.join(known.endings)} ({known.title})" for known in FORMATS.values())
    command = commands.add_parser(
        "convert", help="weights from one library to another, verified", description=f"{text} {endings}."
    )
    command.add_argument("input", type=Path, metavar="IN")
    command.add_argument("output", type=Path, nargs="?", metavar="OUT")
    command.add_argument("--inspect", action="store_true", help="list the layers and shapes of IN, and write nothing")
    command.add_argument("--to", choices=FORMATS, help="of OUT (default: by its name; .safetensors is fastgate's)")
    command.add_argument("--force", action="store_true", help="replace OUT if it exists")
    said = command.add_argument_group("what a file does not say, and its reader then asks for")
    layout = said.add_mutually_exclusive_group()
    layout.add_argument("--batch-first", action="store_true", default=None, help="of a state_dict: input is (B, T, I)")
    layout.add_argument("--time-first", dest="batch_first", action="store_false", help="input is (T, B, I)")
    said.add_argument("--nonlinearity", choices=("tanh", "relu"), help="of the state_dict of an RNN")
    said.add_argument("--dtype", choices=DTYPES, help="of a state_dict, or RTNeural's JSON (default: float32)")
    said.add_argument("--part", metavar="NAME", help="of a state_dict: take what is below this name")
    said.add_argument("--into", type=Path, metavar="MODEL.safetensors", help="a file of fastgate.save: the same layers")
    said.add_argument("--names", nargs="+", type=_pair, metavar="OLD=NEW", help="with --into: modules of a state_dict")


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected OLD=NEW, got {text!r}")
    return old, new


if __name__ == "__main__":
    sys.exit(main())
