"""Weather over a grid of land, and the water that runs off it: by rule, from snow, soil and a slow store."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from fastgate.examples._program import Array

YEAR = 365
FEATURES = ["rain", "temperature", "elevation", "soil"]


def made_by_rule(years: int, grid: Sequence[int], seed: int) -> xr.Dataset:
    """`FEATURES`, of which the last two do not change in time, and `runoff`: (time, lat, lon) in mm a day."""
    rng, (lat, lon) = np.random.default_rng(seed), grid
    elevation, soil = _smooth(rng, lat, lon), _smooth(rng, lat, lon)
    rain, temperature = _weather(rng, years * YEAR, elevation)
    runoff = _runoff(rain, temperature, capacity=60 + 240 * soil)
    values = {"rain": rain, "temperature": temperature, "elevation": elevation, "soil": soil, "runoff": runoff}
    dims = "time", "lat", "lon"
    dates = np.datetime64("2001-01-01", "ns") + np.arange(years * YEAR) * np.timedelta64(1, "D")
    places = {"time": dates, "lat": 45 + 0.1 * np.arange(lat), "lon": 6 + 0.1 * np.arange(lon)}
    return xr.Dataset({name: (dims[-own.ndim :], own.astype(np.float32)) for name, own in values.items()}, places)


def _smooth(rng: np.random.Generator, lat: int, lon: int) -> Array:
    """A field (lat,lon) from 0 to 1 without steps."""
    north, east = np.mgrid[0 : 1 : lat * 1j, 0 : 1 : lon * 1j]
    waves = rng.uniform(-4, 4, (6, 2))
    field = sum(np.cos(a * north + b * east + phase) for (a, b), phase in zip(waves, rng.uniform(0, 6, 6), strict=True))
    spread = np.ptp(field)
    return (field - np.min(field)) / spread if spread else np.full((lat, lon), 0.5)


def _weather(rng: np.random.Generator, days: int, elevation: Array) -> tuple[Array, Array]:
    """Rain in mm a day, more of it high up, in fronts that meet all cells; temperature in degrees, less of it."""
    season = np.cos(2 * np.pi * (np.arange(days) - 200) / 365.25)
    fronts = rng.random(days) < 0.35
    amounts = (
        fronts[:, None, None] * rng.gamma(0.8, 9.0, (days, 1, 1)) * rng.gamma(3.0, 1 / 3, (days, *elevation.shape))
    )
    noise = np.convolve(rng.normal(0, 1.5, days + 4), np.ones(5) / 5**0.5, "valid")
    temperature = (9 + 10 * season + noise)[:, None, None] - 12 * elevation
    return amounts * (0.6 + 0.8 * elevation), temperature


def _runoff(rain: Array, temperature: Array, capacity: Array) -> Array:
    """(T,lat,lon), day by day: what the network must find out, stores and all."""
    snow, water, slow = (np.zeros_like(capacity) for _ in range(3))
    water += 0.5 * capacity
    runoff = np.empty_like(rain)
    for day, (fallen, warmth) in enumerate(zip(rain, temperature, strict=True)):
        is_cold = warmth < 0
        melt = np.minimum(snow, 3.0 * np.maximum(warmth, 0))
        snow += np.where(is_cold, fallen, 0) - melt
        wet = np.where(is_cold, 0, fallen) + melt
        fast = wet * (water / capacity) ** 2
        evaporated = np.minimum(water, 0.25 * np.maximum(warmth, 0) * water / capacity)
        drained = 0.02 * water
        water += wet - fast - evaporated - drained
        spilled = np.maximum(water - capacity, 0)
        water -= spilled
        slow += drained
        runoff[day] = fast + spilled + 0.1 * slow
        slow *= 0.9
    return runoff
