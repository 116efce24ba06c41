"""Recurrent layers in float32 on one thread, beside every peer."""

from benchmarks.peers import prepare

CELLS = ["LSTM", "GRU"]
LIBRARIES = ["fastgate", "torch", "onnxruntime", "jax"]
SEQUENCES = ["1,1,32,32", "1,100,128,256", "32,50,64,64", "32,35,128,256", "128,50,128,128"]
STEPS = ["1,32,32", "1,128,256", "16,64,64"]


class _Work:
    """The library is the last parameter: asv goes through it fastest, so those of one ratio run one after the other.

    `version` goes up when a benchmark measures something else: results of another version are left out of graphs.
    """

    version = "2"
    repeat = (5, 200, 0.8)  # samples at least and at most, seconds for all: single calls, because there is a `setup`
    work: str
    param_names = ("cell", "B,T,I,H", "library")

    def setup(self, cell, shape, library):
        self.run = prepare(self.work, library, cell, shape)


class Forward(_Work):
    """Inference: a whole batch of sequences, nothing kept."""

    work = "inference"
    params = (CELLS, SEQUENCES, LIBRARIES)

    def time_forward(self, cell, shape, library):
        self.run()


class TrainingStep(_Work):
    """Forward and backward: the gradients of the input and of every parameter."""

    work = "training_step"
    params = (CELLS, SEQUENCES, [name for name in LIBRARIES if name != "onnxruntime"])

    def time_training_step(self, cell, shape, library):
        self.run()


class StreamingStep(_Work):
    """One time step after the other, called from Python: 100 of them, because one is too short to time."""

    work = "step"
    param_names = ("cell", "B,I,H", "library")
    params = (CELLS, STEPS, LIBRARIES)

    def time_100_steps(self, cell, shape, library):
        for _ in range(100):
            self.run()
