"""The derivative of every step of a tape: the reverse of a cell's equations, asked for one output after the other.

A cell acts on each unit by itself and has few outputs, so that its reverse with a one for one of them and zeros for the
others gives all of its Jacobian. J (P,n*H) has columns of H units, without padding: for each output (h, then c) those
of the pre-activations in the order of the cell's `da_places`, and that of the state carried beside them (c, or the h of
a GRU; none in an RNN). A GRU that resets before the product has columns of its own. Behind them `tangent.py` writes.
"""

from fastgate.kernels.arithmetic import complement
from fastgate.kernels.cpu.simd import lanes_of, load, zero_of
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.jit import jit


def of_lstm(cell_vjp, variant, *, coupled=False, peepholes=False, projected=False):
    G, O, COUNT = (1, 2, 3) if coupled else (2, 3, 4)  # places of the gates g and o, and how many there are
    C, P_O = COUNT, O - 1

    @jit(variant=variant)
    def lstm(h, c, gates, peephole, before, first, last, J):
        """c (B+P,Hp)  gates (P,4H)[first:last]  peephole (K,H)  before (P,) -> J (P,_)[first:last]"""
        H, states = gates.shape[1] // (COUNT + projected), c.shape[0] - gates.shape[0]
        zero = zero_of(c)
        one = complement(zero)
        for row in range(first, last):
            for u in range(0, H, lanes_of(c)):
                count = H - u
                i = load_some(gates, row, u, count)
                g = load_some(gates, row, G * H + u, count)
                o = load_some(gates, row, O * H + u, count)
                c_prev, c_next = load(c, before[row], u), load(c, states + row, u)
                if peepholes:
                    p_i, p_o = load_some(peephole, 0, u, count), load_some(peephole, P_O, u, count)
                for output in range(2):
                    dh, dc = (one, zero) if output == 0 else (zero, one)
                    at = output * (COUNT + 1) * H + u
                    if coupled:
                        if peepholes:
                            da_i, da_g, da_o, dc_prev = cell_vjp(dh, dc, i, g, o, c_prev, c_next, p_i, p_o)
                        else:
                            da_i, da_g, da_o, dc_prev = cell_vjp(dh, dc, i, g, o, c_prev, c_next)
                    else:
                        f = load_some(gates, row, H + u, count)
                        if peepholes:
                            p_f = load_some(peephole, 1, u, count)
                            da_i, da_f, da_g, da_o, dc_prev = cell_vjp(
                                dh, dc, i, f, g, o, c_prev, c_next, p_i, p_f, p_o
                            )
                        else:
                            da_i, da_f, da_g, da_o, dc_prev = cell_vjp(dh, dc, i, f, g, o, c_prev, c_next)
                        store_some(J, row, at + H, da_f, count)
                    store_some(J, row, at, da_i, count)
                    store_some(J, row, at + G * H, da_g, count)
                    store_some(J, row, at + O * H, da_o, count)
                    store_some(J, row, at + C * H, dc_prev, count)

    return lstm


@jit(inline=True)
def read_gru(h, gates, before, row, u, H):
    """h (B+P,Hp)  gates (P,4H)[row]  before (P,) -> units from u on: n, r, z, what is kept beside them, and h_prev"""
    count = H - u
    n, r = load_some(gates, row, u, count), load_some(gates, row, H + u, count)
    z, beside = load_some(gates, row, 2 * H + u, count), load_some(gates, row, 3 * H + u, count)
    return n, r, z, beside, load(h, before[row], u)


def of_gru(cell_vjp, variant):
    @jit(variant=variant)
    def gru(h, c, gates, peephole, before, first, last, J):
        """h (B+P,Hp)  gates (P,4H)[first:last]  before (P,) -> J (P,_)[first:last] of n, r, z, q, h"""
        H = gates.shape[1] // 4
        one = complement(zero_of(h))
        for row in range(first, last):
            for u in range(0, H, lanes_of(h)):
                count = H - u
                n, r, z, q, h_prev = read_gru(h, gates, before, row, u, H)
                da_n, da_r, da_z, dq, dh_prev = cell_vjp(one, n, r, z, q, h_prev)
                store_some(J, row, u, da_n, count)
                store_some(J, row, H + u, da_r, count)
                store_some(J, row, 2 * H + u, da_z, count)
                store_some(J, row, 3 * H + u, dq, count)
                store_some(J, row, 4 * H + u, dh_prev, count)

    return gru


# Columns of `of_gru_reset_before`: of h_reset those of r and of h; of h those of n, of z, and of what is carried over,
# which is h or h_reset; and what `tangent.py` adds to the pre-activations.
RESET_COLUMNS = 5
RESET_R, RESET_H, H_N, H_Z, H_CARRIED, ADDED_N, ADDED_R, ADDED_Z = range(RESET_COLUMNS + 3)


def of_gru_reset_before(reset_vjp, update_vjp, variant, *, reset_carry=False):
    @jit(variant=variant)
    def gru_reset_before(h, c, gates, peephole, before, first, last, J):
        """h (B+P,Hp)  gates (P,4H)[first:last]  before (P,) -> J (P,8H)[first:last]"""
        H = gates.shape[1] // 4
        one = complement(zero_of(h))
        for row in range(first, last):
            for u in range(0, H, lanes_of(h)):
                count = H - u
                n, r, z, h_reset, h_prev = read_gru(h, gates, before, row, u, H)
                da_n, dz, d_carried = update_vjp(one, n, z, h_reset if reset_carry else h_prev)
                by_r, da_z, by_h = reset_vjp(dz, one, r, z, h_prev)
                store_some(J, row, RESET_R * H + u, by_r, count)
                store_some(J, row, RESET_H * H + u, by_h, count)
                store_some(J, row, H_N * H + u, da_n, count)
                store_some(J, row, H_Z * H + u, da_z, count)
                store_some(J, row, H_CARRIED * H + u, d_carried, count)

    return gru_reset_before


def of_rnn(cell_vjp, variant):
    @jit(variant=variant)
    def rnn(h, c, gates, peephole, before, first, last, J):
        """h (B+P,Hp) -> J (P,2H)[first:last]"""
        H, states = J.shape[1] // 2, h.shape[0] - before.size
        one = complement(zero_of(h))
        for row in range(first, last):
            for u in range(0, H, lanes_of(h)):
                store_some(J, row, u, cell_vjp(one, load(h, states + row, u)), H - u)

    return rnn
