"""The learning rate of every step, and when a run ends before its last epoch."""

import math

from .config import OptimizerConfig, ScheduleConfig


class Schedule:
    """Learning rates from the step and from the validation errors seen so far.

    state: JSON-able numbers that a resumed run needs. Plateau: factor, best error that counts, validations waited and left to
    cool down. Early stop: lowest error of all, validations since (stale).
    """

    def __init__(self, schedule: ScheduleConfig, optimizer: OptimizerConfig, steps_per_epoch: int):
        self.config, self.peak = schedule, optimizer.learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.state: dict[str, float] = {"factor": 1.0, "best": math.inf, "waited": 0, "cooling": 0, "lowest": math.inf, "stale": 0}

    @property
    def total_steps(self) -> int:
        """Optimiser steps up to the last epoch."""
        return self.config.epochs * self.steps_per_epoch

    def rate(self, step: int) -> float:
        """Learning rate of optimiser step number ``step``, counted from 0."""
        c = self.config
        if c.kind == "plateau":
            return self.peak * self.state["factor"]
        if c.kind == "step":
            epoch = step // self.steps_per_epoch
            return self.peak * c.factor ** (0 if epoch < c.step_start else 1 + (epoch - c.step_start) // c.step_every)
        done, warmup = step / self.total_steps, max(c.warmup, 1e-9)
        fraction = (done - warmup) / (1 - warmup)
        if c.kind == "polynomial":
            return self.peak * (done / warmup if done < c.warmup else c.final + (1 - c.final) * (1 - fraction) ** c.power)
        if done < warmup:
            return self.peak * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / warmup)))
        return self.peak * (c.final + (1 - c.final) * 0.5 * (1 + math.cos(math.pi * fraction)))

    def watch(self, error: float) -> bool:
        """Take note of a validation error; whether it is the lowest so far."""
        self._watch_plateau(error)
        lowest = error < self.state["lowest"]
        if lowest:
            self.state.update(lowest=error, stale=0)
        else:
            self.state["stale"] += 1
        return lowest

    def _watch_plateau(self, error: float):
        s, c = self.state, self.config
        if error < s["best"] * (1 - c.threshold):
            s.update(best=error, waited=0)
        elif not s["cooling"]:
            s["waited"] += 1
        s["cooling"] = max(0, s["cooling"] - 1)
        if s["waited"] > c.patience:
            s.update(factor=s["factor"] * c.factor, waited=0, cooling=c.cooldown)

    def reason_to_stop(self, step: int) -> str:
        """Why the run ends here, '' if it goes on."""
        c = self.config
        if c.early_stop and self.state["stale"] >= c.early_stop:
            return f"no better validation in {self.state['stale']} validations (schedule.early_stop)"
        if c.kind in ("plateau", "step") and self.rate(step) < c.stop_below:
            return f"the learning rate fell below {c.stop_below:g} (schedule.stop_below)"
        return ""
