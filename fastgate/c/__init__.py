"""Layers and models as programs in C."""
