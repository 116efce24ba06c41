"""HDF5 in forms that Keras does not write: what h5py would follow, unpack or never end is refused by name."""

import io
import json
import struct
import time

import numpy as np
import pytest
from complaints import complaint
from keras_tools import dense, good_parts, nested, write_parts

import fastgate as fg

h5py = pytest.importorskip("h5py", reason="h5py is not installed: files of Keras are not tested")
pytestmark = pytest.mark.usefixtures("little_memory")
HUGE = 10**12


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return good_parts(tmp_path_factory.mktemp("keras") / "good.keras")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def refused(path, *pieces):
    return complaint(ValueError, "path", str(path), *pieces)


def circle(file):
    file["layers/again"] = file.create_group("layers")


def twice(file):
    file["layers/other/vars/0"] = file["a"]


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    file.create_virtual_dataset("v", layout)


FORMS = {
    "soft": (lambda file: file.__setitem__("s", h5py.SoftLink("/a")), {}, "another place"),
    "external_link": (lambda file: file.__setitem__("s", h5py.ExternalLink("/etc/passwd", "/")), {}, ""),
    "external_data": (
        lambda file: file.create_dataset("e", (10,), "f4", external=[("/etc/passwd", 0, 40)]), {}, "in another file",
    ),
    "virtual": (virtual, {}, "in other arrays"),
    "bomb": (
        lambda file: file.create_dataset("z", (10**9,), "f4", chunks=(10**6,), compression="gzip"), {}, "compressed",
    ),
    "chunks": (lambda file: file.create_dataset("z", data=np.zeros(9), chunks=(3,)), {}, "in chunks"),
    "unwritten": (lambda file: file.create_dataset("u", (HUGE, HUGE), "f4"), {}, ""),
    "twice": (twice, {}, "two parts of it are one"),
    "circle": (circle, {}, "circle"),
    "deep": (lambda file: file.create_group("/".join("b" * 100)), {}, "nested"),
    "latest": (lambda file: None, {"libver": "latest"}, "layout"),
    "user_block": (lambda file: None, {"userblock_size": 512}, "no file of HDF5"),
    "long_name": (lambda file: file.create_group("x" * 300), {}, "255"),
    "integers": (lambda file: file.__setitem__("layers/dense/vars/0", np.ones((2, 3), int)), {}, "integers"),
    "missing": (lambda file: file.create_group("layers/dense/vars/0"), {}, "no array"),
    "fewer": (lambda file: None, {}, "expected 2 arrays"),
    "shape": (lambda file: file.__setitem__("layers/dense/vars/0", np.ones((2, 2))), {}, "kernel"),
    "vector": (lambda file: file.__setitem__("layers/dense/vars/0", np.ones(2)), {}, "kernel"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "options", "piece"), FORMS.values(), ids=FORMS)
def test_forms_that_keras_does_not_write(path, parts, make, options, piece):
    memory = io.BytesIO()
    with h5py.File(memory, "w", **options) as file:
        file["a"] = np.zeros(3, "f4")
        make(file)
        if "layers/dense/vars/0" in file:
            file["layers/dense/vars/1"] = np.zeros(3)
        file.create_group("layers/one")
    write_parts(
        path, parts, model_weights_h5=memory.getvalue(), config_json=json.dumps(dense() if not piece else nested(1))
    )
    with refused(path, piece):
        fg.from_keras(path)


def test_arrays_may_not_overlap(path, parts):
    """Each of a thousand could be as long as the file."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for number in range(100):
            file[f"a{number}"] = np.zeros(1000)
    content = memory.getvalue()
    at = [place for place in range(len(content) - 18) if content[place + 10 : place + 18] == struct.pack("<Q", 8000)]
    at = [place for place in at if content[place : place + 2] == b"\3\1"]
    assert len(at) == 100
    for place in at:
        content = content[: place + 2] + content[at[0] + 2 : at[0] + 10] + content[place + 10 :]
    write_parts(path, parts, model_weights_h5=content)
    with refused(path, "overlap"):
        fg.from_keras(path)


def test_what_is_no_data_has_a_limit(path, parts):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for number in range(20):
            file.attrs[f"text_{number}"] = "x" * 2**20
    with complaint(ValueError, "path", "beside its arrays"):
        fg.from_keras(path.with_suffix(".h5"))


def test_what_takes_long_to_go_through_is_not_gone_through(path):
    """Nothing but empty groups: as many as the limit allows, and more."""
    with h5py.File(path, "w") as file:
        for number in range(8000):
            file.create_group(f"g{number}", track_order=False)
    content = path.read_bytes()
    assert len(content) > 2**22
    start = time.process_time()
    with complaint(ValueError, "path", "into="):
        fg.from_keras(path)
    assert time.process_time() - start < 10
