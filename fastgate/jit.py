"""Cells inside your own ``@njit`` loop: a network in a simulator, a controller, an audio callback.

``cell = layer.jit()`` is a snapshot of a layer's weights, a NamedTuple of arrays, and everything here is called with it
from compiled code (or from Python, to try it out)::

    @njit
    def simulate(cell, head, x, y):
        state = fj.new_state(cell, 1)  # h and c, zeros
        out = np.empty(32, np.float32)
        for t in range(x.shape[0]):
            fj.step(cell, x[t], state, out)
            fj.linear(head, out, y[t])

A trained model has no ``jit``, but its layers do: of an LSTM and a Linear,
``lstm, head = model.layers; simulate(lstm.jit(), head.jit(), x, y)``.

LSTM, GRU (both kinds) and RNN, any number of layers, float32 and float64, any batch. `step` gives the same bits as
`layer.step`. Nothing is allocated but by functions called ``new_...``; nothing is shared, so that each thread or
iteration of a ``prange`` needs a state of its own, and cells can be shared by all. Dropout is not applied.

Arguments are arrays of the layer's dtype with any strides, time first; T is the number of steps, B the batch, I and H
are the layer's `input_size` and `hidden_size`, O is a Linear's `out_features`. With a batch of one the axis of the
batch may be left out: ``x (I,)``, ``y (H,)``. Arrays that are written may overlap no others. A wrong type is an error
when your function is compiled; a wrong shape, or a state or tape of another cell or batch, is a ValueError that names
the argument, before anything is read or written. With the environment variable ``FASTGATE_CHECK=1`` it also says which
shape came (set it before your program starts; it compiles longer).

Sizes are part of a cell's type: a function that is given cells of two sizes is compiled twice. Hand cells over as
arguments: a global variable would be compiled into the function, weights and all. To compile a function with a cell in
it takes Numba some tens of seconds at its first call, without a word; ``@njit(cache=True)`` keeps it on disk, and where
a cell is an argument an upgrade of fastgate is noticed: it is compiled anew.

Functions
---------
``new_state(cell, batch)``
    A `State`: ``h``, ``c`` ``(num_layers, B, H)``, zeros, to be read and written in place (``state.h[0] = ...``);
    without an LSTM ``c`` has no units. ``other.scratch[:] = state.scratch`` copies it, and so does ``copy.deepcopy``.
``step(cell, x, state, y, tape=None, t=0)``
    ``x (B, I)``: writes ``y (B, H)`` and advances the state. With a tape it also records the step as the tape's `t`.
``forward(cell, x, state, y, tape=None)``
    ``x (T, B, I)``: writes ``y (T, B, H)``, advances the state, and records steps 0 to T - 1.
``linear(cell, x, y)``
    ``x (B, I)``: writes ``y (B, O)``. The cell is that of a `Linear`.

Back-propagation: record the steps of your loop, then go through it in reverse with the gradients of your own lines
between these calls. Gradients in parameters are one vector that is laid out as ``layer.params.flat`` and added to, so
that ``layer.params.flat = layer.params.flat - rate * gradient`` is a step of descent; optimisers and the clipping of
gradients take it, too: ``adam.step([layer.params], [gradient])``. It holds, one behind the other and each in C order,
what ``layer.params`` shows by name: for layer 0 of a stack ``weight_ih_l0 (G*H, I)``, ``weight_hh_l0 (G*H, H)``,
``bias_ih_l0 (G*H,)``, ``bias_hh_l0 (G*H,)``, then the same of ``l1``, whose input is H wide. G is the number of gates,
in PyTorch's order: i, f, g, o of an LSTM, r, z, n of a GRU, one of an RNN. With ``bias="single"`` there is
``bias_l0 (G*H,)`` in place of both biases, and a GRU's ``bias_hn_l0 (H,)`` behind it. A Linear has ``weight (O, I)``,
``bias (O,)``. A loop that goes both ways::

    for t in range(steps):
        fj.step(cell, x[t], state, y[t], tape, t)
    gradient[:] = 0
    for t in range(steps - 1, -1, -1):
        dy[:] = y[t] - target[t]  # of half the sum of squares; what later lines of yours send back is added here
        fj.step_backward(cell, tape, t, dy, dstate, dx, gradient)

``new_tape(cell, steps, batch)``
    What so many steps leave for their way back. A tape can be used again; it is for one run at a time.
``new_gradient(cell)``
    Zeros, for all parameters of a cell.
``step_backward(cell, tape, t, dy, dstate, dx, gradient)``
    ``dy (B, H)`` is the loss's gradient in `y` of step `t`, `dstate` (a `State`: from ``new_state`` at the end of the
    loop) that in the state after it. Writes ``dx (B, I)``, makes `dstate` the gradient in the state before the step,
    and adds to `gradient`. The cell must be the one that recorded.
``backward(cell, tape, dy, dstate, dx, gradient)``
    All steps of ``dy (T, B, H)``: writes ``dx (T, B, I)``.
``linear_backward(cell, x, dy, dx, gradient)``
    The same of `linear`, from its own ``x (B, I)``.

Forward mode carries derivatives along: tangents are derivatives in one direction of whatever you choose.

``jvp_step(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction=None)``
    `step`, and the tangents of `y` and of the state from those of `x` and of the state. `direction`, if given, is a
    cell of the same layer that holds the tangents of the parameters, in place of the parameters.

One pass with `jvp_step` is one direction; `step_backward` gives all parameters at once and needs a tape.
"""

from fastgate.kernels.cpu.embedded import State as State
from fastgate.kernels.cpu.embedded import Tape as Tape
from fastgate.kernels.cpu.embedded_calls import forward as forward
from fastgate.kernels.cpu.embedded_calls import new_state as new_state
from fastgate.kernels.cpu.embedded_calls import new_tape as new_tape
from fastgate.kernels.cpu.embedded_calls import step as step
from fastgate.kernels.cpu.embedded_gradients import backward as backward
from fastgate.kernels.cpu.embedded_gradients import jvp_step as jvp_step
from fastgate.kernels.cpu.embedded_gradients import new_gradient as new_gradient
from fastgate.kernels.cpu.embedded_gradients import step_backward as step_backward
from fastgate.kernels.cpu.embedded_linear import linear as linear
from fastgate.kernels.cpu.embedded_linear import linear_backward as linear_backward
