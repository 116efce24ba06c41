"""Labels beside points, none upon another."""

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np

from fastgate._arrays import Array

LETTER, LINE = 4.0, 8.5  # points: of a character of size 7, with its surroundings
POINT = 3.5
NEAR, STEP, RINGS, DIRECTIONS = 7.0, 4.0, 40, 24

Box = tuple[float, float, float, float]  # left, bottom, right, top


def place(points: Array, names: Sequence[str], frame: Box) -> list[tuple[float, float]]:
    """Offsets of the labels' left middles from their points, all in typographic points: the nearest free places."""
    taken: list[Box] = [(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in points]
    offsets = [(0.0, 0.0)] * len(names)
    for i in np.argsort(-points[:, 1]):  # from above
        width = LETTER * len(names[i])
        for dx, dy in _candidates(width):
            x, y = points[i][0] + dx, points[i][1] + dy
            box = (x, y - LINE / 2, x + width, y + LINE / 2)
            if _inside(box, frame) and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        offsets[i] = (dx, dy)
    return offsets


def _candidates(width: float) -> list[tuple[float, float]]:
    """Round the point in wider and wider rings, to the right first."""
    found = []
    for ring in range(RINGS):
        radius = NEAR + STEP * ring
        for k in range(DIRECTIONS):
            angle = (1 if k % 2 else -1) * ((k + 1) // 2) * 2 * pi / DIRECTIONS
            dx = radius * cos(angle)
            found.append((dx if dx >= 0 else dx - width, radius * sin(angle)))
    return found


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
