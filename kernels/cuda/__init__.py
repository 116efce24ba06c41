"""LSTM, GRU and RNN on NVIDIA GPUs, under the names that `kernels.cpu` has; also run by Numba's simulator."""

from fastgate.kernels.cuda.arrays import DeviceArray as DeviceArray
from fastgate.kernels.cuda.arrays import empty as empty
from fastgate.kernels.cuda.arrays import from_host as from_host
from fastgate.kernels.cuda.arrays import scratch as scratch
from fastgate.kernels.cuda.arrays import zeros as zeros
from fastgate.kernels.cuda.direction import Backward as Backward
from fastgate.kernels.cuda.direction import Forward as Forward
from fastgate.kernels.cuda.direction import Trace as Trace
from fastgate.kernels.cuda.dropout import dropout as dropout
from fastgate.kernels.cuda.foreign import contiguous as contiguous
from fastgate.kernels.cuda.foreign import is_on_device as is_on_device
from fastgate.kernels.cuda.foreign import stream_of as stream_of
from fastgate.kernels.cuda.foreign import to_host as to_host
from fastgate.kernels.cuda.foreign import view as view
from fastgate.kernels.cuda.kinds import cell as cell
from fastgate.kernels.cuda.missing import missing as missing
from fastgate.kernels.cuda.rows import Schedule as Schedule
from fastgate.kernels.cuda.rows import put as put
from fastgate.kernels.cuda.rows import take as take
from fastgate.kernels.cuda.streams import on_stream as on_stream
from fastgate.kernels.cuda.weights import Extras as Extras
from fastgate.kernels.cuda.weights import pack_backward_weights as pack_backward_weights
from fastgate.kernels.cuda.weights import pack_weights as pack_weights
