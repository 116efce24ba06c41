"""Programs for `test_host_side.py`: all that the host does for a GPU, with the driver of one that is not there."""

import ctypes
import gc
import os
import sys
from threading import Thread

import numpy as np
from numba import cuda as numba_cuda

import fastgate as fg
from fastgate import _device_border
from fastgate.cuda import array, on_stream
from fastgate.kernels.cuda import plan, recurrence, streams
from fastgate.kernels.cuda.blocks import Block
from fastgate.kernels.cuda.cells import cell
from fastgate.kernels.cuda.persistent import make_forward

driver = ctypes.CDLL("libcuda.so.1")
layer = fg.GRU(8, 64, num_layers=2, seed=0, device="cuda")
x = np.ones((4, 6, 8), np.float32)


def told(name):
    return ctypes.c_long.in_dll(driver, name).value


def tell(name, value):
    ctypes.c_long.in_dll(driver, name).value = value


def error_of(run):
    try:
        run()
    except Exception as error:
        return error
    raise AssertionError("no error")


def train(own):
    y, h, tape = layer.forward(own)
    return layer.backward(tape, y, h)


def nothing_is_allocated_in_a_loop():
    own = array(x)
    for _ in range(3):
        train(own), layer(own), layer(x)
    gc.collect()
    before = told("allocations"), told("frees"), told("waits")
    for _ in range(1000):
        train(own), layer(own), layer(x)
    gc.collect()
    assert (told("allocations"), told("frees"), told("waits")) == before
    counts = []
    for run in (lambda: layer(own), lambda: train(own)):
        launches = told("launches")
        run()
        counts.append(told("launches") - launches)
    assert counts[0] <= 6, counts  # in and out, and of each layer the product and the recurrence
    assert counts[1] <= 32, counts


def a_full_device_is_an_error_and_no_end():
    own = array(x)
    first = train(own)
    kept = told("memory_left")
    tell("memory_left", 1000)
    error = error_of(lambda: array(np.zeros(1 << 22, np.float32)))
    assert type(error) is MemoryError
    assert "no room for 16.8 MB" in str(error), error
    tell("memory_left", kept)
    assert train(own).x.shape == first.x.shape
    left = told("memory_left")
    del first
    gc.collect()
    fg.cuda.release()
    assert told("memory_left") > left


def kinds_launched():
    """Of forward: what is planned now."""
    own = recurrence.choice("forward", layer._cell.of("float32"), 64, 4, np.dtype("float32"), "highest", False)
    return None if own is None else (own.kind, own.grid)


def what_does_not_fit_is_not_launched():
    own = array(x)
    layer(own)
    best = kinds_launched()
    tell("refused", 1)  # by the driver, although it fits
    y, _ = layer(own)
    second = kinds_launched()
    assert y.shape == (4, 6, 64)
    assert second not in (None, best)
    plan._at_once.clear()
    plan.plan_for.cache_clear()
    tell("blocks_at_once", 0)  # another program has the GPU
    tell("clusters_at_once", 0)
    fresh = fg.GRU(8, 48, seed=0, device="cuda")
    launches = told("launches")
    fresh(own)
    assert told("launches") - launches >= 6  # a launch for every step


def clusters_are_launched():
    for program in (Block(16, 8, 8, cluster=4), Block(2, 8, 8, together=4)):
        own = make_forward(cell("lstm", "float32"), 64, program)
        some = array(np.zeros(64, np.float32)).flat
        whole = array(np.zeros(4, np.int32)).flat
        numbers = 1, 1, 0
        own.launch((8, 2, 1), (*[some] * 3, whole, *[some] * 5, *numbers, whole, 0, 1, 1))
        assert (told("blocks"), told("cluster")) == (16, 4)


def other_streams_are_waited_for():
    first, second = numba_cuda.stream(), numba_cuda.stream()
    waits = told("waits")
    with on_stream(first):
        made = array(np.zeros(5000, np.float32))
        made += made
    assert told("waits") == waits
    with on_stream(second):
        used = made + made
    address, waits = made.address, told("waits")
    del made, used
    with on_stream(second):
        other = array(np.zeros(5000, np.float32))
    assert other.address != address
    with on_stream(first):
        again = array(np.zeros(5000, np.float32))
    assert again.address == address
    assert told("waits") == waits + 1
    for give in (lambda own: own.__cuda_array_interface__, lambda own: own.__dlpack__(stream=-1)):
        address = again.address
        give(again)  # to somebody of whom nobody knows when they are done
        del again
        with on_stream(first):
            again = array(np.zeros(5000, np.float32))
        assert again.address != address


def copies_do_not_wait_for_the_stretch_that_is_computed():
    _device_border.STRETCH = 10 * x[:, :1].nbytes
    long = np.ones((4, 80, 8), np.float32)
    layer(long)
    not_waited_for = (ctypes.c_long * 2).in_dll(driver, "not_waited_for")
    before = list(not_waited_for)
    layer(long)
    found = [now - then for now, then in zip(not_waited_for, before, strict=True)]
    assert found == [7, 7], found  # of eight; the first and the last have nothing to wait for but all


def who_lets_go_needs_no_device():
    given = [array(np.zeros(5000, np.float32)) for _ in range(50)]
    for own in given:
        assert own.__cuda_array_interface__["data"][0] == own.address
    del own
    frees = told("frees")
    thread = Thread(target=given.clear)
    thread.start()
    thread.join()
    fg.cuda.release()
    assert told("frees") >= frees + 50


def who_has_written_is_waited_for():
    first, second = numba_cuda.stream(), numba_cuda.stream()
    with on_stream(first):
        made = array(np.zeros((50, 100), np.float32))
    for number, write in enumerate(
        (lambda: made.__iadd__(1), lambda: made.__setitem__(..., 1), lambda: made.__setitem__(3, 0.5))
    ):
        waits = told("waits")
        with on_stream((second, first)[number % 2]):  # that of the last one waits
            write()
        assert told("waits") == waits + 1, number
    for read in (lambda: made.copy(), lambda: made[:, 2:4], lambda: made + 1):
        waits = told("waits")
        with on_stream(first):
            kept = read()
        assert told("waits") == waits + 1
        assert kept.stream is first


def pinned_memory_is_not_written_while_it_is_read():
    first, second = numba_cuda.stream(), numba_cuda.stream()
    other = array(np.full(5 << 20, 2, np.float32))  # of three pieces
    with on_stream(first):
        own = array(np.ones(5 << 20, np.float32))  # its last pieces are on their way
    with on_stream(second):
        assert np.all(np.asarray(other) == 2)
    assert np.all(np.asarray(own) == 1)


def bytes_are_set_from_any_address():
    own = array(np.ones(9, np.int8))
    own[1:9] = 0
    own[3:4] = 7
    assert np.asarray(own).tolist() == [1, 0, 0, 7, 0, 0, 0, 0, 0]


def failures_are_said():
    own = array(x)
    flag = streams.error_flag()
    train(own)
    flag.owner[0] = 1
    assert "did not make progress" in str(error_of(lambda: layer(own)))
    layer(own)
    tell("failure", 700)
    assert "the GPU failed in what was queued before" in str(error_of(lambda: layer(x)))
    tell("failure", 0)
    layer(x)


def a_forked_process_says_so():
    array(x)
    if (child := os.fork()) == 0:
        os._exit("spawn" in str(error_of(lambda: array(x))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def arrays_of_another_device_are_refused():
    own = array(x)
    with numba_cuda.gpus[1]:
        assert "number 1" in str(error_of(lambda: layer(own)))
        twin = fg.GRU(8, 64, num_layers=2, seed=0, device="cuda")
        twin(x), twin(array(x))
    layer(own)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
