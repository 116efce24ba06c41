"""How a wrong argument must be answered, for every test that gives one."""

from contextlib import contextmanager

import numpy as np
import pytest


@contextmanager
def complaint(kind, argument, *pieces):
    """The error inside is exactly of this kind, is about this argument, and its message has these pieces."""
    with pytest.raises(kind) as caught:
        yield
    message = caught.value.args[0]
    assert type(caught.value) is kind
    assert message.startswith(f"{argument}: ")
    for piece in pieces:
        assert piece in message


def not_real_numbers(shape):
    """Values that are no arrays of real numbers, with what the message says of them."""
    zeros = np.zeros(shape)
    return {
        "masked": (np.ma.masked_array(zeros, zeros > 1), "mask"),
        "object": (zeros.astype(object), "object"),
        "complex": (zeros.astype(complex), "complex128"),
        "string": (zeros.astype(str), "<U"),
        "bytes": (zeros.astype(bytes), "|S"),
        "datetime": (zeros.astype("datetime64[s]"), "datetime64[s]"),
        "timedelta": (zeros.astype("timedelta64[s]"), "timedelta64[s]"),
        "structured": (np.zeros(shape, [("a", float)]), "[('a'"),
        "dictionary": ({"a": 1}, "object"),
        "huge_integer": (np.full(shape, 10**30, object).tolist(), "object"),
    }


UNREAL = list(not_real_numbers((1, 1, 1)))
