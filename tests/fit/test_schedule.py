import math

import numpy as np
import pytest

from ase_tracegrad.fit.config import OptimizerConfig, ScheduleConfig
from ase_tracegrad.fit.schedule import Schedule


def make_schedule(steps_per_epoch=2, **settings) -> Schedule:
    return Schedule(ScheduleConfig(**settings), OptimizerConfig(learning_rate=1.0), steps_per_epoch)


def test_one_cycle():
    schedule = make_schedule(epochs=10, warmup=0.2, final=0.01)
    rates = [schedule.rate(step) for step in range(schedule.total_steps)]
    assert len(rates) == 20
    assert np.argmax(rates) == 4
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == pytest.approx(1.0)
    assert (np.diff(rates[:5]) > 0).all()
    assert (np.diff(rates[4:]) < 0).all()
    assert 0.01 < rates[-1] < 0.05


def test_polynomial():
    """Linear from 0 to the peak, then to the final rate; power 1 is linear and 2 lies below it."""
    schedule = make_schedule(kind="polynomial", epochs=10, warmup=0.2, final=0.1)
    rates = [schedule.rate(step) for step in range(schedule.total_steps + 1)]
    assert rates[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert np.diff(rates[4:]) == pytest.approx(np.full(16, -0.9 / 16))
    assert rates[-1] == pytest.approx(0.1)
    squared = make_schedule(kind="polynomial", epochs=10, warmup=0.2, final=0.1, power=2.0)
    assert squared.rate(12) == pytest.approx(0.1 + 0.9 * 0.25)
    assert make_schedule(kind="polynomial", warmup=0.0).rate(0) == pytest.approx(1)


def watch(schedule, errors) -> list[float]:
    rates = []
    for error in errors:
        schedule.watch(error)
        rates.append(schedule.rate(0))
    return rates


def test_plateau():
    """Three validations without improvement exhaust a patience of two; an improvement starts the count anew."""
    rates = watch(make_schedule(kind="plateau", factor=0.5, patience=2), (5, 4, 4.5, 4.5, 4.5, 3, 3, 3, 3, 3, 3, 3))
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_plateau_with_threshold_and_cooldown():
    """Gains of less than a tenth do not count, and two validations after a decay are not judged."""
    rates = watch(
        make_schedule(kind="plateau", factor=0.5, patience=0, threshold=0.1, cooldown=2), (5, 4.6, 4.6, 4.6, 4.6, 4.0, 3.9)
    )
    assert rates == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_steps_are_counted_in_epochs():
    schedule = make_schedule(kind="step", factor=0.5, step_start=3, step_every=2)
    assert [schedule.rate(step) for step in range(0, 20, 2)] == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    assert schedule.rate(5) == 1
    assert schedule.rate(7) == 0.5


def test_early_stop_counts_validations_without_a_lowest_error():
    schedule = make_schedule(early_stop=2)
    seen = []
    for error in (3.0, 2.0, 2.5, 1.9, 1.95, 1.9):
        lowest = schedule.watch(error)
        seen.append((lowest, bool(schedule.reason_to_stop(0))))
    assert seen == [(True, False), (True, False), (False, False), (True, False), (False, False), (False, True)]
    assert "no better validation in 2" in schedule.reason_to_stop(0)
    assert not make_schedule().reason_to_stop(0)


def test_a_learning_rate_that_is_too_low_ends_the_run():
    schedule = make_schedule(kind="step", factor=0.5, step_start=1, step_every=1, stop_below=0.3)
    assert [bool(schedule.reason_to_stop(2 * epoch)) for epoch in range(4)] == [False, False, True, True]
    assert "fell below 0.3" in schedule.reason_to_stop(4)
    assert not make_schedule(stop_below=0.3).reason_to_stop(0)  # a warm-up begins low


def test_a_diverged_validation_is_no_improvement():
    schedule = make_schedule(early_stop=1)
    schedule.watch(1.0)
    assert not schedule.watch(math.nan)
    assert schedule.reason_to_stop(0)
