"""Recurrent layers in float32, beside PyTorch."""

from benchmarks.peers import prepare

CELLS = ["LSTM", "GRU"]
LIBRARIES = ["fastgate", "torch"]

SEQUENCES = ["1,1,32,32", "1,100,128,256", "32,35,128,256", "128,50,128,128"]
STEPS = ["1,32,32", "1,128,256", "16,64,64"]


class _Work:
    work: str
    param_names = ("cell", "library", "B,T,I,H")
    params = (CELLS, LIBRARIES, SEQUENCES)

    def setup(self, cell, library, shape):
        self.run = prepare(self.work, library, cell, shape)


class Forward(_Work):
    """Inference: a whole sequence, nothing kept."""

    work = "inference"

    def time_forward(self, cell, library, shape):
        self.run()


class TrainingStep(_Work):
    """Forward and backward: the gradients of the input and of every parameter."""

    work = "training_step"

    def time_training_step(self, cell, library, shape):
        self.run()


class StreamingStep(_Work):
    """One time step after the other, called from Python: 100 of them, because one is too short to time."""

    work = "step"
    param_names = ("cell", "library", "B,I,H")
    params = (CELLS, LIBRARIES, STEPS)

    def time_100_steps(self, cell, library, shape):
        for _ in range(100):
            self.run()
