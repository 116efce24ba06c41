"""Masks of the recurrent layers: what lengths say they say to the last bit, and any other steps can be skipped."""

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences, in_params
from kernel_tools import equal_bits

import fastgate as fg

CELLS = fg.LSTM, fg.GRU, fg.RNN
B, T, I, H = 5, 7, 3, 4
