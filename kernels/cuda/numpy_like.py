"""What NumPy's functions do when they are called with arrays on the device, so that a formula is written once.

Ufuncs and the functions listed here run there; any other function of NumPy is given copies on the host. Shapes
broadcast where each operand has the result's last axes, or its first ones.
"""

import math

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastgate.kernels.cuda import elementwise, moves, products, reductions, streams, transfers


class NumpyLike(NDArrayOperatorsMixin):
    """Base of `DeviceArray`: what of NumPy's arrays formulas use."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, dtype=None, **options):
        if method != "__call__" or options:
            return _refused(ufunc, inputs)
        target = None if out is None else out[0]
        if ufunc is np.square:
            ufunc, inputs = np.multiply, inputs * 2
        if ufunc.__name__ == "ndtr" and target is None:  # of SciPy: half of erfc(-x / sqrt(2))
            (x,) = inputs
            return _of(x * -math.sqrt(0.5), elementwise.erfc) * 0.5
        if ufunc not in elementwise.KNOWN:
            return _refused(ufunc, inputs)
        if dtype is not None:
            inputs = [value.astype(dtype) if isinstance(value, NumpyLike) else value for value in inputs]
        found = _computed(ufunc, inputs, target)
        return _refused(ufunc, (*inputs, target)) if found is NotImplemented else found

    def __array_function__(self, function, types, arguments, options):
        return FUNCTIONS.get(function, _on_host(function))(*arguments, **options)

    def astype(self, dtype, copy=True):
        """Its entries in another dtype; itself where that is the same."""
        if self.dtype == dtype:
            return self
        out = self.of(self.shape, np.dtype(dtype))
        streams.over(elementwise.convert, self.size, _flat(self), out.flat, self.size)
        return out

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        """Over all axes (a number), the last, or all but the last."""
        if axis is None:
            return _whole(reductions.SUM, self, dtype or self.dtype)
        if axis == tuple(range(self.ndim - 1)):
            return self._sum_of_rows(out)
        return self._along(reductions.SUM, axis, keepdims)

    def _sum_of_rows(self, out):
        width = self.shape[-1]
        out = self.of((width,), self.dtype) if out is None else out
        out.write_here()
        parts = self.of((products.COLUMN_PARTS * width,), self.dtype)
        products.sum_rows(_flat(self), out.flat, self.size // max(1, width), width, parts.flat)
        return out

    def mean(self, axis=None, keepdims=False):
        """Over all axes (a number), or the last."""
        if axis is None:
            return self.sum() / self.size
        return self.sum(axis, keepdims=keepdims) / self.shape[-1]

    def max(self, axis=None, keepdims=False):
        """Over all axes (a number), or the last; NaN if there is one."""
        return _whole(reductions.MAX, self) if axis is None else self._along(reductions.MAX, axis, keepdims)

    def min(self):
        """Of all entries."""
        return _whole(reductions.MIN, self)

    def argmax(self, axis):
        """Over the last axis."""
        out = self.of(self._without_last(axis), np.dtype(np.int64))
        reductions.argmax(_flat(self), out.flat, self.shape[-1])
        return out

    def sum_of_squares(self, unit=1.0):
        """Of the entries over `unit`, in float64."""
        return float(_whole(reductions.SQUARES, self, np.float64, unit))

    def _along(self, kind, axis, keepdims):
        shape = self._without_last(axis)
        out = self.of(shape, self.dtype)
        reductions.of_rows(kind, _flat(self), out.flat, self.shape[-1])
        return out.reshape(*shape, 1) if keepdims else out

    def _without_last(self, axis):
        if axis not in (-1, self.ndim - 1):
            raise ValueError(f"expected the last axis of an array of shape {self.shape} on the device, got {axis}")
        return self.shape[:-1]

    def swapaxes(self, first, second):
        """The first two axes swapped: a copy."""
        if {first, second} != {0, 1}:
            raise ValueError(f"expected the first two axes of an array on the device, got {first} and {second}")
        rows, columns, *rest = self.shape
        out = self.of((columns, rows, *rest), self.dtype)
        streams.over(moves.swap, out.size, _flat(self), out.flat, rows, columns, math.prod(rest))
        return out


def _flat(array):
    """Its entries, when they are written."""
    transfers.wait_for(array.stream)
    return array.flat


def _of(x, kernel):
    out = x.of(x.shape, x.dtype)
    streams.over(kernel, x.size, _flat(x), out.flat, x.size)
    return out


def _refused(ufunc, inputs):
    """To NumPy, which asks other libraries next; where there are none, an error that says what would help."""
    if any(isinstance(value, np.ndarray) for value in inputs):
        raise TypeError(
            f"numpy.{ufunc.__name__} of a DeviceArray and an array of NumPy's: both on one side, by"
            " fastgate.cuda.array(x) or numpy.asarray(array)"
        )
    if all(_is_array(value) or np.ndim(value) == 0 for value in inputs):
        raise TypeError(f"numpy.{ufunc.__name__} is not computed so on the GPU; of copies: numpy.asarray(array)")
    return NotImplemented


def _is_array(value):
    return isinstance(value, NumpyLike)


def _computed(function, inputs, target=None):
    """The result of a ufunc, or of `numpy.where`, of arrays here and numbers."""
    arrays = [value for value in inputs if _is_array(value)]
    operands = inputs if target is None else (*inputs, target)
    if not all(_is_array(value) or np.ndim(value) == 0 for value in operands):
        return NotImplemented
    shape = np.broadcast_shapes(*[array.shape for array in arrays])
    values = arrays[1:] if function is np.where and _is_array(inputs[0]) else arrays
    own = np.result_type(*[array.dtype for array in values]) if values else np.result_type(*inputs[1:])
    if target is None:
        dtype = np.dtype(bool) if function in elementwise.COMPARISONS else own
        target = arrays[0].of(shape, dtype)
    elif target.shape != shape:
        raise ValueError(f"expected an array of shape {shape} to write to, got {target.shape}")
    else:
        target.write_here()
    operands = [_flat(value) if _is_array(value) else own.type(value) for value in inputs]
    number = elementwise.NUMBER, 1
    readers = [elementwise.reader(value.shape, shape) if _is_array(value) else number for value in inputs]
    elementwise.run(elementwise.KNOWN[function], operands, readers, target.flat, target.size)
    return target


def _whole(kind, x, dtype=None, unit=1.0):
    """Of all entries of x, a number: of parts, and then of these."""
    dtype = np.dtype(dtype or x.dtype)
    width = max(1, reductions.PARTS, -(-x.size // reductions.PARTS))
    parts = x.of((max(1, -(-x.size // width)),), dtype)
    reductions.of_rows(kind, _flat(x), parts.flat, width, unit)
    if parts.size > 1:
        whole = x.of((1,), dtype)
        again = (reductions.itself, kind[1])
        reductions.of_rows(again, parts.flat, whole.flat, parts.size)
        parts = whole
    return parts.copy_to_host()[0]


def _on_host(function):
    def run(*arguments, **options):
        return function(*map(_copied, arguments), **{name: _copied(value) for name, value in options.items()})

    return run


def _copied(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copied, value))
    return np.asarray(value) if _is_array(value) else value


def _where(condition, x, y):
    return _computed(np.where, (condition, x, y))


def _concatenate(arrays, axis=0):
    if not all(map(_is_array, arrays)) or axis % arrays[0].ndim not in (0, arrays[0].ndim - 1):
        return _on_host(np.concatenate)(arrays, axis)
    axis = axis % arrays[0].ndim
    shape = list(arrays[0].shape)
    shape[axis] = sum(array.shape[axis] for array in arrays)
    out, first, inner = arrays[0].of(shape, arrays[0].dtype), 0, math.prod(shape[axis:])
    for array in arrays:
        width = math.prod(array.shape[axis:])
        streams.over(moves.columns, array.size, _flat(array), 0, width, out.flat, first, inner, width, array.size)
        first += width
    return out


def _split(array, parts, axis):
    if axis not in (-1, array.ndim - 1):
        return _on_host(np.split)(array, parts, axis)
    *leading, whole = array.shape
    width, found = whole // parts, []
    for part in range(parts):
        out = array.of((*leading, width), array.dtype)
        streams.over(moves.columns, out.size, _flat(array), part * width, whole, out.flat, 0, width, width, out.size)
        found.append(out)
    return found


def _flip(array, axis):
    out = array.of(array.shape, array.dtype)
    inner = math.prod(array.shape[axis + 1 :])
    streams.over(moves.flip, out.size, _flat(array), out.flat, array.shape[axis], inner)
    return out


def _clip(array, least, most):
    return np.minimum(np.maximum(array, least), most)


def _take(array, index, axis):
    """Of the first axis, by an index on either side."""
    if axis != 0 or not _is_array(array):
        return _on_host(np.take)(array, index, axis)
    own = index if _is_array(index) else array.copied(np.ascontiguousarray(index, np.int64))
    out = array.of((*own.shape, *array.shape[1:]), array.dtype)
    streams.over(moves.take, out.size, _flat(array), _flat(own), out.flat, math.prod(array.shape[1:]))
    return out


def _broadcast_to(array, shape):
    """Rows of the last axis repeated: a copy."""
    *leading, width = shape
    if array.shape[-1:] != (width,):
        return _on_host(np.broadcast_to)(array, shape)
    rows = np.broadcast_to(np.arange(math.prod(array.shape[:-1])).reshape(array.shape[:-1]), leading)
    return _take(array.reshape(-1, width), rows, 0)


FUNCTIONS = {
    np.shape: lambda array: array.shape,
    np.ndim: lambda array: array.ndim,
    np.size: lambda array: array.size,
    np.may_share_memory: lambda first, second: not isinstance(first, np.ndarray) and not isinstance(second, np.ndarray),
    np.empty_like: lambda array: array.of(array.shape, array.dtype),
    np.sum: lambda array, axis=None, dtype=None, out=None: array.sum(axis, dtype, out),
    np.where: _where,
    np.concatenate: _concatenate,
    np.split: _split,
    np.flip: _flip,
    np.clip: _clip,
    np.take: _take,
    np.broadcast_to: _broadcast_to,
}
