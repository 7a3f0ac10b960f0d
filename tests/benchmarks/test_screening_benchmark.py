"""The screening benchmark at its smallest size: same answers as the loop, all rows, memory of all processes."""

import pytest

from ase_tracegrad.models import available_models


@pytest.fixture
def screening(load_benchmark):
    if "graphene-pbe" not in available_models():
        pytest.skip("the benchmark needs the embedded model graphene-pbe")
    return load_benchmark("screening")


def test_the_loop_and_the_screening_agree(screening):
    found = screening.compare_with_loop(2)
    assert found["largest_difference_eV"] < 2e-4  # of the search for band edges
    assert set(found["cpu_seconds_per_structure"]) == {"loop", "screen"}


def test_every_row_of_a_soak_is_there(screening):
    found = screening.soak(150, 1)
    assert found["rows"] == found["rows_read_back"] == 150
    readings = found["memory_MB"]
    assert len(readings) == 150
    assert readings[-1]["driver"] > 50
    assert any(len(reading["workers"]) == 1 for reading in readings)
