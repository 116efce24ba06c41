"""How work is shared out over threads: rows of a batch, columns of a product, units of a step."""

from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.features import TILE_ROWS, lanes

FLOPS_PER_THREAD = 2e7  # handing work to a thread costs about 50 us
FLOPS_PER_TURN = 6e4  # and waiting for each other at every step some tenths of a microsecond
SEQUENCES_PER_THREAD = TILE_ROWS // 2  # fewer make poor tiles: then the units are shared out instead


def threads_for(multiply_adds):
    """As many as there are, when each has enough to do."""
    return max(1, min(team.get_threads(), int(2.0 * multiply_adds / FLOPS_PER_THREAD)))


def slices_for(cell, B, rows, multiply_adds, H, dtype):
    """Into how many slices of units every step of a batch should be cut: where there are too few sequences to share
    out, and a step is long enough to wait for each other at its end. `multiply_adds` are those of a row."""
    threads = threads_for(rows * multiply_adds)
    if not cell.has_slices or SEQUENCES_PER_THREAD * threads < B:
        return 1
    recurrent = 2.0 * B * len(cell.recurrent_gates) * H * H
    slices = min(threads, int(recurrent / FLOPS_PER_TURN))
    blocks = -(-H // lanes(dtype))
    return -(-blocks // -(-blocks // slices)) if slices > 1 else 1


def parts_for(B, rows, multiply_adds):
    """Into how many parts a batch should be cut otherwise."""
    return max(1, min(B, threads_for(rows * multiply_adds)))


def cuts_of(count, parts):
    """`parts` nearly equal shares of `count`: where each begins, and the end."""
    parts = max(1, min(parts, count))
    return [count * i // parts for i in range(parts + 1)]
