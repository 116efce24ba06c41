"""The mathematics of every cell: one step of one hidden unit, and its reverse directly below.

Pre-activations are `a_*`, gradients `d*`. Each reverse (vjp: vector-Jacobian product) is grouped by the line of the
forward step that it undoes. Everything else in fastgate is about where these numbers come from and go to.
"""

from fastgate.kernels.activations import relu, relu_slope, sigmoid, sigmoid_slope, tanh, tanh_slope
from fastgate.kernels.arithmetic import complement
from fastgate.kernels.jit import equation


@equation
def lstm_cell(a_i, a_f, a_g, a_o, c_prev):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * tanh(c)
    return h, c, i, f, g, o


@equation
def lstm_cell_vjp(dh, dc, i, f, g, o, c_prev, c):
    # h = o * tanh(c)
    tanh_c = tanh(c)
    do = dh * tanh_c
    dc = dc + dh * o * tanh_slope(tanh_c)

    # c = f * c_prev + i * g
    df = dc * c_prev
    dc_prev = dc * f
    di = dc * g
    dg = dc * i

    # the four activations
    da_i = di * sigmoid_slope(i)
    da_f = df * sigmoid_slope(f)
    da_g = dg * tanh_slope(g)
    da_o = do * sigmoid_slope(o)
    return da_i, da_f, da_g, da_o, dc_prev


@equation
def gru_reset(a_r, a_z, h_prev):
    """The gates of Cho et al. 2014 (`z` keeps the old state), and the state as the candidate sees it."""
    r = sigmoid(a_r)
    z = sigmoid(a_z)
    h_reset = r * h_prev
    return r, z, h_reset


@equation
def gru_reset_vjp(dz, dh_reset, r, z, h_prev):
    # h_reset = r * h_prev
    dr = dh_reset * h_prev
    dh_prev = dh_reset * r

    # the two activations
    da_r = dr * sigmoid_slope(r)
    da_z = dz * sigmoid_slope(z)
    return da_r, da_z, dh_prev


@equation
def gru_update(a_n, z, h_carried):
    """The candidate, and the new state between it and what is carried over: h_prev, or r * h_prev as some print it."""
    n = tanh(a_n)
    h = complement(z) * n + z * h_carried
    return h, n


@equation
def gru_update_vjp(dh, n, z, h_carried):
    # h = (1 - z) * n + z * h_carried
    dn = dh * complement(z)
    dz = dh * (h_carried - n)
    dh_carried = dh * z

    # the activation
    da_n = dn * tanh_slope(n)
    return da_n, dz, dh_carried


@equation
def gru_cell(a_n, a_r, a_z, q, h_prev):
    """The GRU of cuDNN and PyTorch, where the reset gate acts after the product: q = U_n h_prev + b_hn."""
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


@equation
def rnn_tanh_cell(a):
    """Elman 1990."""
    h = tanh(a)
    return h


@equation
def rnn_tanh_cell_vjp(dh, h):
    # h = tanh(a)
    da = dh * tanh_slope(h)
    return da


@equation
def rnn_relu_cell(a):
    h = relu(a)
    return h


@equation
def rnn_relu_cell_vjp(dh, h):
    # h = relu(a)
    da = dh * relu_slope(h)
    return da
