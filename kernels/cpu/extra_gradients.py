"""The gradients of what only some cells have: peepholes, and the projection W_hr.

They are sums over rows in the order of `gradients.py`, so that their bits depend on threads and stretches no more than
those of the other weights do.
"""

from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.gradients import BLOCK, add_block, fill_block, fill_panels
from fastgate.kernels.cpu.sharing import threads_for
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.cpu.weight_gradients import block_for, panels_for
from fastgate.kernels.jit import jit


class ExtraGradients:
    """Of one direction, ready for a schedule."""

    def __init__(self, cell, schedule, H, size, dtype):
        self.cell, self.schedule, self.H = cell, schedule, H
        self.workers = threads_for(schedule.rows * H * size) if cell.is_projected else 0
        self.scratch = [(panels_for(H, dtype, n, "m"), block_for(dtype, n)) for n in range(self.workers)]

    def __call__(self, trace, da, sums, begin):
        """da (P,N) -> sums, `Extras`: peepholes (K,H)  W_hr (size,Hp), from zero with `begin`"""
        rows, cuts, gates = self.schedule.canonical, self.schedule.chunks, self.cell.peephole_gates
        after = rows + self.schedule.order.size
        for number, gate in enumerate(gates):
            states = after if gate == gates[-1] else self.schedule.canonical_before
            peephole_gradient(da, gate * self.H, trace.c, rows, states, cuts, sums.peepholes, number, begin)
        if self.workers:
            behind = len(self.cell.da_places) * self.H  # the gates
            common = da, behind, trace.gates, behind, rows, cuts, sums.W_hr, self.H, begin
            calls = [(*common, *own, n, self.workers) for n, own in enumerate(self.scratch)]
            if self.workers == 1:
                projection_gradient(*calls[0])
            else:
                team.run_kernel(projection_gradient, calls)


@jit
def peephole_gradient(da, column, c, rows, states, cuts, dp, number, begin):
    """da (P,N)[rows, column:]  c (B+P,Hp)[states] -> dp (K,H)[number] += sum over rows of da * c"""
    H = dp.shape[1]
    for u in range(0, H, lanes_of(da)):
        if begin:
            store_some(dp, number, u, zero_of(dp), H - u)
        for i in range(cuts.size - 2, -1, -1):
            part = zero_of(da)
            for k in range(cuts[i], cuts[i + 1]):
                part = part + load_some(da, rows[k], column + u, H - u) * load(c, states[k], u)
            store_some(dp, number, u, load_some(dp, number, u, H - u) + part, H - u)


@jit
def projection_gradient(da, at_dh, gates, at_m, rows, cuts, dW, H, begin, m_panels, dh_block, worker, workers):
    """da (P,N)[rows, at_dh:] holding dh  gates (P,G)[rows, at_m:] holding m -> dW (size,Hp) += dh.T @ m

    This worker does its share of the rows of dW.  scratch m_panels (Hp/lanes,CHUNK*lanes), dh_block (CHUNK,BLOCK)
    """
    first, last = dW.shape[0] * worker // workers, dW.shape[0] * (worker + 1) // workers
    if begin:
        for r in range(first, last):
            for u in range(0, dW.shape[1], lanes_of(dW)):
                store(dW, r, u, zero_of(dW))
    for i in range(cuts.size - 2, -1, -1):
        cut, depth = cuts[i], cuts[i + 1] - cuts[i]
        fill_panels(gates, rows, cut, depth, at_m, H, m_panels)
        for r in range(first, last, BLOCK):
            units = min(BLOCK, last - r)
            fill_block(da, rows, cut, depth, at_dh + r, units, dh_block)
            add_block(dW, r, units, dh_block, m_panels, depth)
