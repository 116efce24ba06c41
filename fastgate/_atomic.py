"""Files that are there whole or not at all, whatever is interrupted: written aside, flushed to the disk, renamed."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fastgate import _errors


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, replaces: bool = True, argument: str = "path") -> Iterator[BinaryIO]:
    """A new binary file to write inside the ``with``, which takes the place of `path` at its end.

    A reader sees the old file or the new one, never a part. After the ``with`` the new one survives a loss of power. An
    exception inside leaves the old one as it was and removes the new one; only a kill can leave that behind, as
    ``.NAME.*.part`` in the same folder, where nothing reads it.

    Without `replaces` there must be no file at `path` at the end either, and none is replaced.

    The new file has the permissions of the one that it replaces, else those that `open` gives. Of a symbolic link the
    file that it names is replaced. The messages call what the user gave by the name `argument`.

    Raises
    ------
    OSError
        If there is no such folder, `path` is no ordinary file, or the system refuses to write; a FileExistsError if
        there is a file that is not to be replaced.
    """
    target = Path(os.path.realpath(path))
    permissions = permissions_of(target, argument)
    # In the same folder, as no rename leaves its file system.
    aside = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}.part")
    try:
        with _opened(aside, permissions, argument) as file:
            yield file
            file.flush()
            if permissions is not None:
                os.chmod(aside, permissions)  # what the process's mask took from them
            os.fsync(file.fileno())
        if replaces:
            os.replace(aside, target)
        else:
            _rename_to_new(aside, target)
    except BaseException:  # Ctrl-C too
        aside.unlink(missing_ok=True)
        raise
    flush_folder(target.parent)


def _opened(aside: Path, permissions: int | None, argument: str) -> BinaryIO:
    try:
        return open(aside, "xb", opener=lambda name, flags: os.open(name, flags, permissions or 0o666))
    except OSError as error:  # which names a file that nobody has heard of
        raise _errors.not_writable(aside.parent, error, argument) from None


def _rename_to_new(aside: Path, target: Path) -> None:
    """Where nobody else has taken the name by now; a rename would replace their file."""
    try:
        os.link(aside, target)
    except FileExistsError:
        raise
    except OSError:  # of file systems without links: there is an empty file for a moment
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(aside, target)
    else:
        aside.unlink()


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Make what was made, renamed and removed in it survive a loss of power."""
    if os.name == "nt":  # where a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that have no such thing
            raise
    finally:
        os.close(descriptor)


def permissions_of(target: Path, argument: str) -> int | None:
    """Those of the file to be replaced; None where there is none yet. Raise where no file can be."""
    if not target.parent.is_dir():
        raise _errors.no_folder(target.parent, argument)
    if not target.exists():
        return None
    if not target.is_file():  # a folder, or /dev/null, which a rename would replace
        raise _errors.no_ordinary_file(target, argument)
    return target.stat().st_mode & 0o777
