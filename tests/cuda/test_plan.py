"""The plan has a kernel for every size that fits on the GPU, and says why this one."""

import pytest

from fastgate.kernels.cuda.cells import cell
from fastgate.kernels.cuda.plan import MOST_WORDS, Device, plan_for

H200, A100 = Device(), Device(108, 163 * 1024, has_clusters=False)


@pytest.mark.parametrize("device", [H200, A100], ids=["H200", "A100"])
@pytest.mark.parametrize("precision", ["highest", "high", "float16"])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "rnn_tanh"])
def test_what_is_chosen_fits(name, precision, device):
    for H in (1, 100, 777, 2048):
        for B, directions in ((1, 1), (3, 2), (64, 2), (500, 1)):
            options = {"directions": directions, "precision": precision, "device": device}
            for choice in plan_for(cell(name, "float32"), H, B, **options):
                assert choice.program is not None, (H, B)
                assert choice.program.shared <= device.shared
                assert choice.program.words <= MOST_WORDS
                width, parts, depth = choice.grid
                assert width * choice.block.units >= H
                assert depth == directions
                if choice.program.cooperative:  # they wait for one another, so all must run at once
                    assert width * parts * depth <= device.multiprocessors
                    assert parts <= B
                else:
                    assert parts * choice.block.rows >= B
                assert device.has_clusters or choice.program.cluster == 1
                assert f"{choice.microseconds:.1f} us" in choice.reason


@pytest.mark.parametrize(
    ("H", "B", "precision", "kind"),
    [
        (128, 32, "highest", "cluster"),
        (512, 1, "highest", "persistent"),
        (1024, 64, "high", "shared columns"),
        (2048, 1, "high", "streamed"),
        (64, 32, "bfloat16", "cluster"),
        (2048, 1, "float16", "streamed"),
    ],
)
def test_kinds(H, B, precision, kind):
    assert plan_for(cell("lstm", "float32"), H, B, precision=precision, device=H200).forward.kind == kind


def test_more_units_of_16_bits_fit_into_a_block():
    """Two numbers lie in each word of its registers."""
    plans = [plan_for(cell("lstm", "float32"), 1024, 64, precision=own, device=H200) for own in ("medium", "bfloat16")]
    assert plans[1].forward.block.units > plans[0].forward.block.units
    assert plans[1].forward.microseconds < plans[0].forward.microseconds


def test_no_room_is_a_launch_for_every_step():
    tiny = Device(1, 16 * 1024, has_clusters=False)
    choice = plan_for(cell("lstm", "float32"), 4096, 64, device=tiny).backward
    assert (choice.kind, choice.program) == ("steps", None)
    assert "every step" in choice.reason


def test_what_has_no_tensor_cores_is_exact():
    turing = Device(40, 64 * 1024, has_clusters=False, has_tensor_cores=False)
    for precision in ("high", "medium", "float16"):
        sizes = {"device": turing, "dtype": "float32"}
        found = plan_for(cell("lstm", "float32"), 128, 32, precision=precision, **sizes)
        exact = plan_for(cell("lstm", "float32"), 128, 32, precision="highest", **sizes)
        assert found.forward.program is exact.forward.program is not None
        assert found.backward.program is exact.backward.program
