"""LSTM, GRU and RNN on the CPU."""

from fastgate.kernels.cpu import dense as dense
from fastgate.kernels.cpu import features as features
from fastgate.kernels.cpu import roof as roof
from fastgate.kernels.cpu import team as team
from fastgate.kernels.cpu.cells import CELLS as CELLS
from fastgate.kernels.cpu.cells import cell as cell
from fastgate.kernels.cpu.direction import Backward as Backward
from fastgate.kernels.cpu.direction import Forward as Forward
from fastgate.kernels.cpu.direction import Trace as Trace
from fastgate.kernels.cpu.dropout import dropout as dropout
from fastgate.kernels.cpu.quantize import FORMATS as FORMATS
from fastgate.kernels.cpu.quantize import quantize_weights as quantize_weights
from fastgate.kernels.cpu.quantize import rounded as rounded
from fastgate.kernels.cpu.recurrent_dropout import RecurrentDropout as RecurrentDropout
from fastgate.kernels.cpu.rows import scatter_add as scatter_add
from fastgate.kernels.cpu.schedule import Schedule as Schedule
from fastgate.kernels.cpu.schedule import uniform_schedule as uniform_schedule
from fastgate.kernels.cpu.sharing import parts_for as parts_for
from fastgate.kernels.cpu.sharing import slices_for as slices_for
from fastgate.kernels.cpu.stretches import recompute as recompute
from fastgate.kernels.cpu.stretches import record_states as record_states
from fastgate.kernels.cpu.stretches import steps_of_stretch as steps_of_stretch
from fastgate.kernels.cpu.weights import Extras as Extras
from fastgate.kernels.cpu.weights import pack_backward_weights as pack_backward_weights
from fastgate.kernels.cpu.weights import pack_weights as pack_weights
from fastgate.kernels.nonlinearities import DEFAULTS as DEFAULTS
