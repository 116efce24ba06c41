"""The loop over epochs and steps."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from fastgate._terminal import Interruption, warn
from fastgate.training import errors
from fastgate.training.batches import Source
from fastgate.training.callbacks import Callback, Run
from fastgate.training.objective import Sums
from fastgate.training.resume import Saver
from fastgate.training.step import Stepper
from fastgate.training.validation import Validation


class Loop:
    """A training from where it is to its end, to Ctrl-C, or to an error."""

    def __init__(
        self,
        run: Run,
        stepper: Stepper,
        sums: Sums,
        source: Source,
        held_out: Validation | None,
        callbacks: list[Callback],
        saver: Saver | None,
        ctrl_c: Interruption,
    ) -> None:
        self.run, self.stepper, self.sums = run, stepper, sums
        self.source, self.held_out, self.callbacks = source, held_out, callbacks
        self.saver, self.ctrl_c, self.group = saver, ctrl_c, stepper.group
        # Parameters, optimiser, sums and position are changed one after the other: a checkpoint written in between
        # would have those of two moments, and what goes on from it would not come to the same bits.
        self._is_whole = True

    def train(self) -> None:
        """Go on until the end."""
        run, history = self.run, self.run.history
        try:
            self._tell("on_train_begin")
            if self.saver is not None:
                self.saver.check()
            while run.epoch < run.epochs and history.stopped is None:
                self._train_epoch()
            if self.saver is not None:
                self.saver.write()
            run.has_ended = True
        except KeyboardInterrupt:
            self.group.check_interrupted()
            history.interrupted = True
            self.stepper.go_back()
            if self.saver is not None and self._is_whole:
                self.saver.write()
            if self.group.is_first:
                warn(errors.interrupted(history.steps, None if self.saver is None else self.saver.path))
        except errors.NonFiniteError as error:
            error.history = history
            raise
        finally:
            self._tell("on_train_end")

    def _train_epoch(self) -> None:
        run, start = self.run, perf_counter()
        for batch in self.source.epoch(run.epoch, run.step):
            self._is_whole = False
            done = self.stepper.step(batch, run.history.steps, run.epoch)
            if done.weight:
                self.sums.add(done.loss, done.weight, done.given)
            if done.batch_loss is not None:
                run.loss = done.batch_loss
            run.step += 1
            run.history.steps += 1
            self._is_whole = True
            self._tell("on_step_end")
            self.group.agree(run, after_epoch=False)
            if self.saver is not None:
                self.saver.after_step()
            self._heed_ctrl_c()
            if run.history.stopped is not None:
                return
        self.group.end_epoch()
        row = self.group.total(self.sums).means()
        if self.held_out is not None:
            row |= self.held_out.measure(self.ctrl_c)
        row = self.group.from_first(lambda: row)  # callbacks decide by it, and a metric may draw random numbers
        self._is_whole = False
        run.history.append(row, perf_counter() - start)
        self.sums.clear()
        self.stepper.state = None
        run.epoch, run.step = run.epoch + 1, 0
        self._tell("on_epoch_end")
        self.group.agree(run, after_epoch=True)
        self._is_whole = True
        if self.saver is not None:
            self.saver.after_epoch()
        self._heed_ctrl_c()

    def _heed_ctrl_c(self) -> None:
        if self.ctrl_c.requested:
            raise KeyboardInterrupt

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            method: Any = getattr(callback, event)
            method(self.run)
