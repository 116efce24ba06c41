"""The mathematics of every cell: one step of one hidden unit, and its reverse directly below.

Pre-activations are `a_*`, gradients `d*`. Each reverse (vjp: vector-Jacobian product) is grouped by the line of the
forward step that it undoes. Everything else in fastgate is about where these numbers come from and go to.

Equations are made for their activations, each a function and its slope; the usual ones stand at the end, by name.
"""

from fastgate.kernels.arithmetic import complement
from fastgate.kernels.jit import equation
from fastgate.kernels.nonlinearities import RELU, SIGMOID, TANH


def make_lstm(gate=SIGMOID, candidate=TANH, output=TANH):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000. Then the same with peepholes p, by
    which gates see c: the output gate the new one, the others the old (Gers and Schmidhuber 2000).
    """
    activate_gate, gate_slope = gate
    activate_candidate, candidate_slope = candidate
    lstm_output, lstm_output_vjp = make_lstm_output(gate, output)

    @equation
    def lstm_memory(a_i, a_f, a_g, c_prev):
        i = activate_gate(a_i)
        f = activate_gate(a_f)
        g = activate_candidate(a_g)
        c = f * c_prev + i * g
        return c, i, f, g

    @equation
    def lstm_memory_vjp(dc, i, f, g, c_prev):
        # c = f * c_prev + i * g
        df = dc * c_prev
        dc_prev = dc * f
        di = dc * g
        dg = dc * i

        # the three activations
        da_i = di * gate_slope(i)
        da_f = df * gate_slope(f)
        da_g = dg * candidate_slope(g)
        return da_i, da_f, da_g, dc_prev

    @equation
    def lstm_cell(a_i, a_f, a_g, a_o, c_prev):
        c, i, f, g = lstm_memory(a_i, a_f, a_g, c_prev)
        h, o = lstm_output(a_o, c)
        return h, c, i, f, g, o

    @equation
    def lstm_cell_vjp(dh, dc, i, f, g, o, c_prev, c):
        # h, o = lstm_output(a_o, c)
        da_o, dc_of_h = lstm_output_vjp(dh, o, c)

        # c, i, f, g = lstm_memory(a_i, a_f, a_g, c_prev)
        da_i, da_f, da_g, dc_prev = lstm_memory_vjp(dc + dc_of_h, i, f, g, c_prev)
        return da_i, da_f, da_g, da_o, dc_prev

    @equation
    def peephole_cell(a_i, a_f, a_g, a_o, c_prev, p_i, p_f, p_o):
        c, i, f, g = lstm_memory(a_i + p_i * c_prev, a_f + p_f * c_prev, a_g, c_prev)
        h, o = lstm_output(a_o + p_o * c, c)
        return h, c, i, f, g, o

    @equation
    def peephole_cell_vjp(dh, dc, i, f, g, o, c_prev, c, p_i, p_f, p_o):
        # h, o = lstm_output(a_o + p_o * c, c)
        da_o, dc_of_h = lstm_output_vjp(dh, o, c)
        dc = dc + dc_of_h + da_o * p_o

        # c, i, f, g = lstm_memory(a_i + p_i * c_prev, a_f + p_f * c_prev, a_g, c_prev)
        da_i, da_f, da_g, dc_prev = lstm_memory_vjp(dc, i, f, g, c_prev)
        dc_prev = dc_prev + da_i * p_i + da_f * p_f
        return da_i, da_f, da_g, da_o, dc_prev

    return lstm_cell, lstm_cell_vjp, peephole_cell, peephole_cell_vjp


def make_coupled_lstm(gate=SIGMOID, candidate=TANH, output=TANH):
    """The LSTM that forgets as much as it takes in, f = 1 - i (Greff et al. 2017). Then the same with peepholes."""
    activate_gate, gate_slope = gate
    activate_candidate, candidate_slope = candidate
    lstm_output, lstm_output_vjp = make_lstm_output(gate, output)

    @equation
    def coupled_memory(a_i, a_g, c_prev):
        i = activate_gate(a_i)
        g = activate_candidate(a_g)
        c = complement(i) * c_prev + i * g
        return c, i, g

    @equation
    def coupled_memory_vjp(dc, i, g, c_prev):
        # c = (1 - i) * c_prev + i * g
        dc_prev = dc * complement(i)
        di = dc * (g - c_prev)
        dg = dc * i

        # the two activations
        da_i = di * gate_slope(i)
        da_g = dg * candidate_slope(g)
        return da_i, da_g, dc_prev

    @equation
    def coupled_cell(a_i, a_g, a_o, c_prev):
        c, i, g = coupled_memory(a_i, a_g, c_prev)
        h, o = lstm_output(a_o, c)
        return h, c, i, g, o

    @equation
    def coupled_cell_vjp(dh, dc, i, g, o, c_prev, c):
        # h, o = lstm_output(a_o, c)
        da_o, dc_of_h = lstm_output_vjp(dh, o, c)

        # c, i, g = coupled_memory(a_i, a_g, c_prev)
        da_i, da_g, dc_prev = coupled_memory_vjp(dc + dc_of_h, i, g, c_prev)
        return da_i, da_g, da_o, dc_prev

    @equation
    def coupled_peephole_cell(a_i, a_g, a_o, c_prev, p_i, p_o):
        c, i, g = coupled_memory(a_i + p_i * c_prev, a_g, c_prev)
        h, o = lstm_output(a_o + p_o * c, c)
        return h, c, i, g, o

    @equation
    def coupled_peephole_cell_vjp(dh, dc, i, g, o, c_prev, c, p_i, p_o):
        # h, o = lstm_output(a_o + p_o * c, c)
        da_o, dc_of_h = lstm_output_vjp(dh, o, c)
        dc = dc + dc_of_h + da_o * p_o

        # c, i, g = coupled_memory(a_i + p_i * c_prev, a_g, c_prev)
        da_i, da_g, dc_prev = coupled_memory_vjp(dc, i, g, c_prev)
        dc_prev = dc_prev + da_i * p_i
        return da_i, da_g, da_o, dc_prev

    return coupled_cell, coupled_cell_vjp, coupled_peephole_cell, coupled_peephole_cell_vjp


def make_lstm_output(gate, output):
    """What an LSTM shows of its memory."""
    activate_gate, gate_slope = gate
    activate_output, output_slope = output

    @equation
    def lstm_output(a_o, c):
        o = activate_gate(a_o)
        h = o * activate_output(c)
        return h, o

    @equation
    def lstm_output_vjp(dh, o, c):
        # h = o * activate_output(c)
        shown = activate_output(c)
        do = dh * shown
        dc = dh * o * output_slope(shown)

        # the activation
        da_o = do * gate_slope(o)
        return da_o, dc

    return lstm_output, lstm_output_vjp


def make_gru(gate=SIGMOID, candidate=TANH):
    """Cho et al. 2014 (`z` keeps the old state), in two steps; then the cell of cuDNN and PyTorch, made of both."""
    activate_gate, gate_slope = gate
    activate_candidate, candidate_slope = candidate

    @equation
    def gru_reset(a_r, a_z, h_prev):
        """The gates, and the state as the candidate sees it."""
        r = activate_gate(a_r)
        z = activate_gate(a_z)
        h_reset = r * h_prev
        return r, z, h_reset

    @equation
    def gru_reset_vjp(dz, dh_reset, r, z, h_prev):
        # h_reset = r * h_prev
        dr = dh_reset * h_prev
        dh_prev = dh_reset * r

        # the two activations
        da_r = dr * gate_slope(r)
        da_z = dz * gate_slope(z)
        return da_r, da_z, dh_prev

    @equation
    def gru_update(a_n, z, h_carried):
        """The candidate, and the new state between it and what is carried over: h_prev, or r * h_prev as some print
        it."""
        n = activate_candidate(a_n)
        h = complement(z) * n + z * h_carried
        return h, n

    @equation
    def gru_update_vjp(dh, n, z, h_carried):
        # h = (1 - z) * n + z * h_carried
        dn = dh * complement(z)
        dz = dh * (h_carried - n)
        dh_carried = dh * z

        # the activation
        da_n = dn * candidate_slope(n)
        return da_n, dz, dh_carried

    @equation
    def gru_cell(a_n, a_r, a_z, q, h_prev):
        """The reset gate acts after the product: q = U_n h_prev + b_hn."""
        r, z, q_reset = gru_reset(a_r, a_z, q)
        h, n = gru_update(a_n + q_reset, z, h_prev)
        return h, n, r, z

    @equation
    def gru_cell_vjp(dh, n, r, z, q, h_prev):
        # h, n = gru_update(a_n + q_reset, z, h_prev)
        da_n, dz, dh_prev = gru_update_vjp(dh, n, z, h_prev)

        # r, z, q_reset = gru_reset(a_r, a_z, q)
        da_r, da_z, dq = gru_reset_vjp(dz, da_n, r, z, q)
        return da_n, da_r, da_z, dq, dh_prev

    return gru_reset, gru_reset_vjp, gru_update, gru_update_vjp, gru_cell, gru_cell_vjp


def make_rnn(activation):
    """Elman 1990."""
    activate, slope = activation

    @equation
    def rnn_cell(a):
        h = activate(a)
        return h

    @equation
    def rnn_cell_vjp(dh, h):
        # h = activate(a)
        da = dh * slope(h)
        return da

    return rnn_cell, rnn_cell_vjp


lstm_cell, lstm_cell_vjp, peephole_cell, peephole_cell_vjp = make_lstm()
coupled_cell, coupled_cell_vjp, coupled_peephole_cell, coupled_peephole_cell_vjp = make_coupled_lstm()
gru_reset, gru_reset_vjp, gru_update, gru_update_vjp, gru_cell, gru_cell_vjp = make_gru()
rnn_tanh_cell, rnn_tanh_cell_vjp = make_rnn(TANH)
rnn_relu_cell, rnn_relu_cell_vjp = make_rnn(RELU)
