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

LSTM, GRU (both kinds) and RNN, any number of layers, float32 and float64, any batch. `step` gives the same bits as
`layer.step`. Nothing is allocated but by functions called ``new_...``; nothing is shared, so that each thread or
iteration of a ``prange`` needs a state of its own, and cells can be shared by all. Dropout is not applied.

Arguments are arrays of the layer's dtype with any strides, ``(B, I)`` and so on, time first; with a batch of one the
axis of the batch may be left out: ``x (I,)``, ``y (H,)``. A wrong type is an error when your function is compiled; a
wrong shape is a ValueError that names the argument, before anything is read or written. With the environment variable
``FASTGATE_CHECK=1`` it also says which shape came (set it before your program starts; it compiles longer).

Sizes are part of a cell's type: a function that is given cells of two sizes is compiled twice. Hand cells over as
arguments: a global variable would be compiled into the function, weights and all. In ``@njit(cache=True)`` functions
that take a cell as an argument an upgrade of fastgate is noticed: they are compiled anew.

Functions
---------
``new_state(cell, batch)``
    A `State`: ``h``, ``c`` ``(num_layers, B, H)``, zeros, to be read and written; without an LSTM ``c`` has no units.
``step(cell, x, state, y, tape=None, t=0)``
    ``x (B, I)``: writes ``y (B, H)`` and advances the state. With a tape it also records the step as the tape's `t`.
``forward(cell, x, state, y, tape=None)``
    ``x (T, B, I)``: writes ``y (T, B, H)``, advances the state, and records steps 0 to T - 1.
``linear(cell, x, y)``
    ``x (B, I)``: writes ``y (B, O)``. The cell is that of a `Linear`.

Back-propagation: record the steps of your loop, then go through it in reverse with the gradients of your own lines
between these calls. Gradients in parameters are one vector that is laid out as ``layer.params.flat`` and added to, so
that ``layer.params.flat = layer.params.flat - rate * gradient`` is a step of descent; optimisers and the clipping of
gradients take such vectors, too: ``adam.step([layer.params], [gradient])``.

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
