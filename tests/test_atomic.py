"""Files are written whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
from kernel_tools import ROOT

from fastgate._atomic import atomic_file
from fastgate._options import check_target
from fastgate._terminal import UserError

posix = pytest.mark.skipif(os.name == "nt", reason="the system has other permissions and links")


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["weights"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, GeneratorExit])
def test_an_error_inside_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "weights"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"new")
        raise error

    with pytest.raises(error), atomic_file(path) as file:
        fail(file)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_refusal_of_the_system_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / "weights"
    path.write_bytes(b"old")

    def refuse(*_):
        raise OSError("no room")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="no room"), atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", ".weights.0123.part")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught, atomic_file(tmp_path / "weights"):
        pass
    assert str(caught.value) == f"path: the folder {str(tmp_path)!r} cannot be written: Permission denied"


def test_a_command_knows_before_its_work_that_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"^OUT .*weights: the folder .* cannot be written$"):
        check_target("OUT", tmp_path / "weights")


def test_what_is_renamed_is_on_the_disk_and_the_folder_after_it(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.path.isdir(f"/dev/fd/{file}")), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths)))
    with atomic_file(tmp_path / "weights") as file:
        file.write(b"new")
    assert done == [False, "rename", True]


@posix
def test_permissions_are_those_of_the_old_file_or_of_any_new_one(tmp_path):
    usual, path = tmp_path / "usual", tmp_path / "weights"
    usual.touch()
    with atomic_file(path):
        pass
    assert permissions(path) == permissions(usual)
    for kept in (0o600, 0o666):
        path.chmod(kept)
        with atomic_file(path):
            aside = next(tmp_path.glob(".weights.*.part"))
            assert permissions(aside) & ~kept == 0
        assert permissions(path) == kept


@posix
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    path, link = tmp_path / "folder" / "weights", tmp_path / "link"
    link.symlink_to(path)
    with atomic_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


@posix
def test_only_ordinary_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, problem in (
        ("", "no ordinary file"),
        ("pipe", "no ordinary file"),
        ("none/weights", "there is no folder"),
    ):
        with pytest.raises(OSError, match=problem), atomic_file(tmp_path / path):
            pass
    assert os.listdir(tmp_path) == ["pipe"]


WRITE = """
import sys
from fastgate._atomic import atomic_file

for number in range(10**9):
    with atomic_file(sys.argv[1]) as file:
        for _ in range(20):
            file.write(b"%09d" % number * 500)
    if number == 0:
        print("begun", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "weights"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for delay in (0.0, 0.003, 0.007):
        command = [sys.executable, "-c", WRITE, str(path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(delay)
            writer.kill()
        content = path.read_bytes()
        assert len(content) == 9 * 20 * 500
        assert content == content[:9] * 10_000
