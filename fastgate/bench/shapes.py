"""What is measured by default, and what a shape costs."""

from typing import NamedTuple, Self

from fastgate._terminal import UserError
from fastgate.bench.peers import GATES

MOST = 2**40  # multiply-adds of one call: far more is a slip of the keyboard

# Sizes of the literature and of applications, from one small step to what fills a machine.
KNOWN = (
    "1,1,32,32 1,1,256,256 1,100,32,64 1,100,128,256 1,100,512,512"
    " 32,10,1,50 32,50,64,64 32,35,128,256 128,50,128,128 64,100,256,512"
)
# Sizes that nobody has tuned for: odd, thin, and between all multiples of a vector.
ODD = (
    "7,19,11,53 3,40,96,384 200,12,24,40 2,75,30,100 5,8,200,17 13,27,48,160"
    " 48,20,80,200 1,33,10,90 1,60,300,300 24,100,6,24 96,15,129,65 17,31,64,333"
)
KNOWN_STEPS = "1,1,8,8 1,1,16,16 1,1,32,32 1,1,64,64 1,1,128,256 16,1,64,64"
ODD_STEPS = "1,1,5,13 1,1,40,100 1,1,96,384 3,1,11,53 7,1,24,40 64,1,20,90"


class Shape(NamedTuple):
    """Batch, time, input, hidden."""

    B: int
    T: int
    I: int
    H: int

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, text: str, work: str) -> Self:
        """From "B,T,I,H"; a step has T = 1, which may be left out."""
        parts = text.split(",")
        if work == "step" and len(parts) == 3:
            parts.insert(1, "1")
        if len(parts) != 4 or not all(part.isdecimal() and int(part) >= 1 for part in parts):
            expected = "B,I,H" if work == "step" else "B,T,I,H"
            raise UserError(f"--shapes: expected {expected}, integers of at least 1, got {text!r}")
        shape = cls(*map(int, parts))
        if work == "step" and shape.T != 1:
            raise UserError(f"--shapes: a step has T = 1, got {text!r}")
        if shape.multiply_adds("LSTM", "training_step") > MOST:
            raise UserError(f"--shapes: {text} is more than {MOST:.0e} multiply-adds, some minutes for one call")
        return shape

    def multiply_adds(self, cell: str, work: str) -> int:
        """Those of the products of matrices: a backward pass has two for each of the forward pass."""
        once = self.B * self.T * len(GATES[cell]) * self.H * (self.I + self.H)
        return 3 * once if work == "training_step" else once

    def numbers_moved(self, cell: str, work: str) -> int:
        """Read or written at least, if nothing stays in registers from one time step to the next.

        The recurrent weights in every time step; all else once: the weights of the input, x and y; in training these
        again for the backward pass, the gates, and all gradients.
        """
        rows = len(GATES[cell]) * self.H
        steps = self.B * self.T
        inference = self.T * rows * self.H + rows * self.I + steps * (self.I + self.H)
        gradients = rows * (self.I + self.H)
        return 2 * (inference + steps * rows) + gradients if work == "training_step" else inference


def default_shapes(work: str) -> list[Shape]:
    chosen = KNOWN_STEPS + " " + ODD_STEPS if work == "step" else KNOWN + " " + ODD
    return [Shape.parse(text, work) for text in chosen.split()]
