import json
from importlib.metadata import version

import pytest


@pytest.fixture
def measure(load_benchmark):
    return load_benchmark("measure")


@pytest.fixture
def clock(measure, monkeypatch):
    """A clock that calls advance by hand."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "process_time", lambda: now[0])

    def spend(*seconds):
        rest = iter(seconds)

        def call():
            now[0] += (taken := next(rest))
            return taken

        return call

    return spend


def test_the_least_time_and_the_last_answer_count(measure, clock):
    assert measure.fastest(clock(3.0, 1.0, 2.0), 3) == (1.0, 2.0)


def test_warm_up_does_not_count(measure, clock):
    calls = {"a": clock(0.5, 3.0, 2.0), "b": clock(0.25, 1.0, 4.0)}
    assert measure.fastest_in_turns(calls, repeats=2, warm_up=1) == {"a": 2.0, "b": 1.0}


def test_a_result_names_its_machine(measure, tmp_path):
    facts = measure.describe_machine("numpy")
    assert set(facts) == {"commit", "uncommitted", "machine", "threads", "load", "versions"}
    assert facts["versions"]["numpy"] == version("numpy")
    measure.write_result(tmp_path / "deep" / "a.json", facts)
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == facts
