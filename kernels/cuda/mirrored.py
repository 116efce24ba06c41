"""Arrays of the host that kernels may ask for."""

from fastgate.kernels.cuda import streams
from fastgate.kernels.cuda.arrays import DeviceArray, from_host


class Mirrored(DeviceArray):
    """An array of the host that is copied when a kernel first asks for it, and read back at no cost.

    Neither is to be written.
    """

    __slots__ = ("_flat", "host")

    def __init__(self, host):
        self.host, self.shape, self.dtype, self.is_locked = host, host.shape, host.dtype, False
        self.stream, self._flat = streams.stream(), None

    @property
    def flat(self):
        if self._flat is None:
            there = from_host(self.host)
            self._flat, self.stream = there.flat, there.stream
        return self._flat

    def copy_to_host(self):
        return self.host
