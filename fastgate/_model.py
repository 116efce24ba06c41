"""What all models share."""

from __future__ import annotations

from fastgate._frozen import Frozen
from fastgate._model_params import ModelParams


class Model(Frozen):
    """Base of `Sequential` and `EncoderDecoder`."""

    params: ModelParams
