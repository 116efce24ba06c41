"""What a pickle of PyTorch holds, read by a machine that cannot run anything.

A pickle is a program, whose instructions may import and call whatever there is. This machine knows the instructions
that data take, and a handful of names, none of which it imports: each stands for what is done here instead.

=======================================================  =====================================
name                                                     becomes
=======================================================  =====================================
collections.OrderedDict                                  dict
torch._utils._rebuild_tensor_v2                          `StoredTensor`
torch._utils._rebuild_parameter                          its tensor
torch.FloatStorage, DoubleStorage, HalfStorage, ...      `Storage`, by a persistent identifier
=======================================================  =====================================

Any other name or instruction is a ValueError; so is what would take more memory than the file. Entries of tensors are
not read here: only where they lie.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

MOST_INSTRUCTIONS = 2**19  # some 15,000 tensors
MOST_AXES = 8
MOST_SHARED = 8  # times that all tensors together may be larger than all storages
ITEMSIZE = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
ITEMSIZE |= {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Bool": "bool", "Byte": "uint8",
    "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64",
}  # fmt: skip
NAMES = {f"torch.{kind}Storage": dtype for kind, dtype in STORAGES.items()}
NAMES |= {"collections.OrderedDict": "", "torch._utils._rebuild_tensor_v2": "", "torch._utils._rebuild_parameter": ""}
CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False, pickle.EMPTY_TUPLE: ()}
NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
TEXTS = {pickle.BINUNICODE: "<I", pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE8: "<Q"}
TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


class Name(NamedTuple):
    """Stands for a class or function; nothing but text."""

    text: str


class Storage(NamedTuple):
    """So many entries, stored under a key."""

    dtype: str
    key: str
    entries: int


class StoredTensor(NamedTuple):
    """Part of a storage; strides count entries."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(content: bytes, sizes: Mapping[str, int], make: Callable[[StoredTensor], Any]) -> Any:
    """What the pickle holds: dict, list, tuple, str, numbers, None, and what `make` makes of a tensor.

    `sizes` are the bytes stored under each key. The text of a ValueError goes on where the file's name was said.
    """
    try:
        return _Machine(content, sizes, make).run()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise ValueError("is damaged: its pickle makes no sense") from None


class _Machine:
    def __init__(self, content: bytes, sizes: Mapping[str, int], make: Callable[[StoredTensor], Any]) -> None:
        self._content, self._at, self._sizes, self._make = content, 0, sizes, make
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # what lies under each mark
        self._memo: dict[int, Any] = {}
        self._left = MOST_SHARED * sum(sizes.values())

    def run(self) -> Any:
        for _ in range(MOST_INSTRUCTIONS):
            instruction = self._take(1)
            if instruction == pickle.STOP:
                return self._stack[-1]
            if not (self._push_constant(instruction) or self._remember(instruction)):
                self._build(instruction)
        raise ValueError(f"is too long: its pickle has more than {MOST_INSTRUCTIONS} instructions")

    def _push_constant(self, instruction: bytes) -> bool:
        push = self._stack.append
        if instruction in NUMBERS:
            push(self._number(NUMBERS[instruction]))
        elif instruction in TEXTS:
            push(self._take(self._number(TEXTS[instruction])).decode())
        elif instruction in CONSTANTS:
            push(CONSTANTS[instruction])
        elif instruction == pickle.EMPTY_DICT:
            push({})
        elif instruction == pickle.EMPTY_LIST:
            push([])
        elif instruction == pickle.LONG1:
            push(int.from_bytes(self._take(self._number("<B")), "little", signed=True))
        elif instruction == pickle.GLOBAL:
            push(_known(self._line(), self._line()))
        elif instruction == pickle.STACK_GLOBAL:
            name, module = self._pop(str), self._pop(str)
            push(_known(module, name))
        else:
            return False
        return True

    def _remember(self, instruction: bytes) -> bool:
        """Marks and the memo."""
        match instruction:
            case pickle.PROTO:
                self._take(1)
            case pickle.FRAME:
                self._take(8)
            case pickle.MARK:
                self._below.append(self._stack)
                self._stack = []
            case pickle.BINPUT:
                self._memo[self._number("<B")] = self._stack[-1]
            case pickle.LONG_BINPUT:
                self._memo[self._number("<I")] = self._stack[-1]
            case pickle.MEMOIZE:
                self._memo[len(self._memo)] = self._stack[-1]
            case pickle.BINGET:
                self._stack.append(self._memo[self._number("<B")])
            case pickle.LONG_BINGET:
                self._stack.append(self._memo[self._number("<I")])
            case _:
                return False
        return True

    def _build(self, instruction: bytes) -> None:
        """Something of what is on the stack."""
        match instruction:
            case pickle.TUPLE:
                items = tuple(self._above_mark())
                self._stack.append(items)
            case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
                self._stack.append(tuple([self._stack.pop() for _ in range(TUPLES[instruction])][::-1]))
            case pickle.SETITEM:
                value, key = self._stack.pop(), self._stack.pop()
                self._set([key, value])
            case pickle.SETITEMS:
                self._set(self._above_mark())
            case pickle.APPEND:
                item = self._stack.pop()
                self._top(list).append(item)
            case pickle.APPENDS:
                several = self._above_mark()
                self._top(list).extend(several)
            case pickle.BINPERSID:
                self._stack.append(self._storage(self._pop(tuple)))
            case pickle.REDUCE:
                arguments, name = self._pop(tuple), self._pop(Name)
                self._stack.append(self._called(name.text, arguments))
            case pickle.BUILD:  # attributes of an OrderedDict: PyTorch's versions of modules
                self._pop(dict)
                self._top(dict)
            case _:
                raise ValueError(f"asks for the instruction {instruction!r}, which takes no part in saving tensors")

    def _storage(self, identifier: tuple[Any, ...]) -> Storage:
        match identifier:
            case ("storage", Name(text=text), str(key), str(), int(entries)) if NAMES[text] and entries >= 0:
                stored, expected = self._sizes.get(key), entries * ITEMSIZE[NAMES[text]]
                if stored != expected:
                    raise ValueError(f"is damaged: its storage {key!r} has {stored} bytes, expected {expected}")
                return Storage(NAMES[text], key, entries)
        raise ValueError("is damaged: it refers to something other than a storage")

    def _called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """What this function of PyTorch makes of the arguments."""
        match name, arguments:
            case "collections.OrderedDict", ():
                return {}
            case "torch._utils._rebuild_parameter", (_, bool(), _):
                return arguments[0]
            case "torch._utils._rebuild_tensor_v2", (Storage(), int(), tuple(), tuple(), bool(), _, *extra):
                if extra not in ([], [{}]):
                    raise ValueError("holds a tensor that is to be negated or conjugated when it is read")
                return self._make(self._tensor(*arguments[:4]))
        raise ValueError(f"calls {name} with arguments that PyTorch does not give")

    def _tensor(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> StoredTensor:
        numbers = offset, *shape, *strides
        if len(shape) != len(strides) or len(shape) > MOST_AXES or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError("is damaged: it holds a tensor of impossible shape")
        entries = prod(shape)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if entries and (last >= storage.entries or entries > storage.entries):
            raise ValueError(f"is damaged: it holds a tensor of shape {shape} in a storage of {storage.entries}")
        self._left -= entries * ITEMSIZE[storage.dtype]
        if self._left < 0:
            raise ValueError(f"holds tensors that are more than {MOST_SHARED} times as large as what is stored")
        return StoredTensor(storage, offset, shape, strides)

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        if len(items) % 2:
            raise IndexError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # nested tuples would take for ever to hash
                raise ValueError(f"holds a dictionary with a key of type {type(key).__name__}")
            target[key] = value

    def _above_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError("is damaged: its pickle makes no sense")
        return self._stack[-1]

    def _pop(self, kind: type) -> Any:
        self._top(kind)
        return self._stack.pop()

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._content):
            raise IndexError
        return self._content[start : self._at]

    def _number(self, kind: str) -> Any:
        return struct.unpack(kind, self._take(struct.calcsize(kind)))[0]

    def _line(self) -> str:
        end = self._content.find(b"\n", self._at) + 1
        return self._take((end or len(self._content) + 1) - self._at)[:-1].decode()


def _known(module: str, name: str) -> Name:
    text = f"{module}.{name}"
    if text not in NAMES:
        raise ValueError(f"asks for {text}, and nothing is run for a file; save module.state_dict() alone")
    return Name(text)
