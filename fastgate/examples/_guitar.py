"""A guitar and a distortion pedal, made by rule: plucked strings, and the circuit of a diode clipper, solved."""

import numpy as np
from numba import njit
from scipy.signal import butter, lfilter

from fastgate.examples._program import Array

STRINGS = 82.41 * 2 ** (np.arange(30) / 12)  # Hz: E2 and upwards
CHORD = 0, 7, 12, 16  # half-tones
RESISTANCE, CAPACITY = 2.2e3, 47e-9  # ohm, farad: 0.1 ms
SATURATION, THERMAL = 2.52e-9, 45.3e-3  # ampere, volt: of two diodes 1N4148, back to back
DRIVE, LOUDEST = 8.0, 0.6  # volt for an input of 1; volt that become 1


def play(seconds: float, rate: int, rng: np.random.Generator) -> Array:
    """Notes and chords (N), each of its own loudness, by the method of Karplus and Strong 1983."""
    samples = np.zeros(round(seconds * rate))
    at = 0
    while at < samples.size:
        root = rng.integers(0, len(STRINGS) - max(CHORD))
        for tone in CHORD if rng.random() < 0.4 else CHORD[:1]:
            period = max(2, round(rate / STRINGS[root + tone]))
            pluck = np.zeros(min(2 * rate, samples.size - at))
            burst = rng.uniform(-1, 1, period)[: pluck.size]
            pluck[: burst.size] = burst
            samples[at : at + pluck.size] += rng.uniform(0.1, 0.6) * ring(pluck, period)
        at += int(rate * rng.uniform(0.15, 0.6))
    numerator, denominator = butter(2, min(2000, 0.45 * rate), fs=rate)
    dull = lfilter(numerator, denominator, samples)
    return np.asarray(dull / np.abs(dull).max())


@njit(cache=True)
def ring(string, period):  # type: ignore[no-untyped-def]
    """string (N), plucked -> itself: what comes back is a mean of two neighbours, a little softer."""
    for t in range(period + 1, string.size):
        string[t] += 0.4975 * (string[t - period] + string[t - period - 1])
    return string


def distort(x: Array, rate: int) -> Array:
    """What the pedal makes of x (N): a coupling capacitor, the clipper, a tone control."""
    high, low = butter(1, 120, "highpass", fs=rate), butter(1, min(4000, 0.45 * rate), fs=rate)
    return np.asarray(lfilter(*low, clip(DRIVE * lfilter(*high, x), 1.0 / rate)) / LOUDEST)


@njit(cache=True)
def clip(u, step):  # type: ignore[no-untyped-def]
    """u (N) volt -> v (N): dv/dt = (u - v) / (R C) - 2 I / C sinh(v / V), by the trapezoidal rule in half steps.

    It is stiff: each half step is an equation in the new v, solved by Newton's method.
    """
    found, v, before, h = np.empty_like(u), 0.0, 0.0, step / 4
    a, b = 1 / (RESISTANCE * CAPACITY), 2 * SATURATION / CAPACITY
    for t in range(u.size):
        for part in range(2):
            middle = before + (part + 1) / 2 * (u[t] - before)
            known = v + h * (a * (before + part / 2 * (u[t] - before) - v) - b * np.sinh(v / THERMAL))
            for _ in range(50):
                value = v - h * (a * (middle - v) - b * np.sinh(v / THERMAL)) - known
                change = value / (1 + h * (a + b / THERMAL * np.cosh(v / THERMAL)))
                v -= min(max(change, -THERMAL), THERMAL)  # no overflow on the way
                if abs(change) < 1e-9:
                    break
        found[t], before = v, u[t]
    return found
