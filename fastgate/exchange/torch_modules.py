"""Modules that models of fastgate need and torch.nn lacks. Imports PyTorch: import it where that is there."""

from __future__ import annotations

from typing import Any

import torch

RECURRENT = torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN


class FinalState(torch.nn.Module):  # type: ignore[misc]
    """From the pair that a recurrent module returns to `fastgate.FinalState` of it."""

    def __init__(self, all_layers: bool = False) -> None:
        super().__init__()
        self.all_layers = all_layers

    def forward(self, pair: Any) -> Any:
        """(B, D * H), or (B, layers * D, H) of all layers; unbatched without B."""
        y, state = pair
        h = state[0] if isinstance(state, tuple) else state
        directions = y.shape[-1] // h.shape[-1]
        rows = h if self.all_layers else h[-directions:]
        if rows.dim() == 3:
            rows = rows.transpose(0, 1)
        return rows if self.all_layers else rows.flatten(-2)

    def extra_repr(self) -> str:
        """Its option."""
        return f"all_layers={self.all_layers}"


class Sequential(torch.nn.Sequential):  # type: ignore[misc]
    """torch.nn.Sequential, but what follows LSTM, GRU or RNN gets the output alone; `FinalState` gets the pair."""

    def forward(self, x: Any) -> Any:
        """The last module's output; the pair (output, state) if that is a recurrent one."""
        for module in self:
            if isinstance(x, tuple) and not _takes_pair(module):
                x = x[0]
            x = module(x)
        return x


def _takes_pair(module: Any) -> bool:
    """It, or what comes first in it, is `FinalState`."""
    while isinstance(module, torch.nn.Sequential) and len(module):
        module = module[0]
    return isinstance(module, FinalState)
