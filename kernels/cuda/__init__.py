"""LSTM and GRU steps for NVIDIA GPUs, from the same equations as the CPU's; also run by Numba's simulator.

Not yet reachable from the layers: this proves that the mathematics is written once.
"""
