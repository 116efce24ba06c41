"""How a kernel is compiled and launched: the options of numba-cuda's `jit`, and what it has no option for."""

from numba import cuda

from fastgate.kernels.cuda.prims import SIMULATED


class Program:
    """A kernel, with the size of its blocks; compiled when first launched.

    Parameters
    ----------
    function
        Plain Python, as it is before compilation.
    threads
        In a block.
    shared
        Bytes of dynamic shared memory of a block.
    cluster
        How many blocks write into one another's shared memory.
    cooperative
        Whether all blocks of the grid wait for one another: where they do not fit at once, the launch is an error.
    words
        Of 4 bytes, that a thread keeps in registers all the time.
    """

    def __init__(self, function, threads, *, shared=0, cluster=1, cooperative=True, words=0):
        self.function, self.threads, self.shared, self.words = function, threads, shared, words
        self.cluster, self.cooperative = cluster, cooperative
        self._dispatcher = None
        self._ready = set()

    @property
    def dispatcher(self):
        """What Numba makes of the function."""
        if self._dispatcher is None:
            options = {} if SIMULATED else {"launch_bounds": (self.threads, 1)}
            self._dispatcher = cuda.jit(**options)(self.function)
        return self._dispatcher

    def launch(self, grid, arguments, stream=0):
        """Run it on `grid` blocks with these arguments, device arrays and numbers."""
        if not SIMULATED:
            self._prepare(arguments)
        self.dispatcher[grid, self.threads, stream, self.shared](*arguments)

    def _prepare(self, arguments):
        kinds = tuple(self.dispatcher.typeof_pyval(argument) for argument in arguments)
        kernel = self.dispatcher.compile(kinds)
        if kernel in self._ready:
            return
        kernel.cooperative = self.cooperative
        _allow_shared_memory(kernel, self.shared)
        self._ready.add(kernel)


def _allow_shared_memory(kernel, size):
    """More than the 48 KB that a block has without asking (numba-cuda's issue 94)."""
    from numba.cuda.cudadrv.driver import binding, driver

    function = kernel._codelibrary.get_cufunc()
    attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    driver.cuKernelSetAttribute(attribute, size, function.handle, function.device.id)


def current_device():
    """Of the current device: multiprocessors, bytes of shared memory of a block, whether it has clusters."""
    if SIMULATED or not cuda.is_available():
        return None
    device = cuda.get_current_device()
    shared = device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    return device.MULTIPROCESSOR_COUNT, shared, device.compute_capability >= (9, 0)


def driver_version():
    """The newest CUDA that the driver knows."""
    if SIMULATED:
        return "none"
    from numba.cuda.cudadrv.driver import driver

    return ".".join(map(str, driver.get_version()))
