"""A kernel, and all of ours that it calls, as plain Python: with other things behind `cuda` and the primitives."""

from types import CellType, CodeType, FunctionType

from numba import cuda

from simulator.namespace import MEANINGS


def bind(function, namespace):
    return _Binder(namespace).bound(function)


class _Binder:
    def __init__(self, namespace):
        self.namespace = namespace
        self.done = {}

    def bound(self, value):
        if value is cuda:
            return self.namespace
        if isinstance(value, list | dict | set):
            return value
        if value in MEANINGS:
            return MEANINGS[value]
        ours = isinstance(value, FunctionType) and value.__module__.startswith("fastgate.kernels.")
        return self.copied(value) if ours else value

    def copied(self, function):
        if function not in self.done:
            cells = tuple(CellType() for _ in function.__closure__ or ())
            used = names_in(function.__code__) & function.__globals__.keys()
            names = {name: function.__globals__[name] for name in used}
            copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
            self.done[function] = copy
            names |= {name: self.bound(value) for name, value in names.items()}
            names["__builtins__"] = __builtins__
            copy.__globals__.update(names)
            for cell, old in zip(cells, function.__closure__ or (), strict=True):
                cell.cell_contents = self.bound(old.cell_contents)
        return self.done[function]


def names_in(code):
    """Also those in comprehensions."""
    inner = [names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*code.co_names}.union(*inner)
