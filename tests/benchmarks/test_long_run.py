"""The long run at its smallest size: memory that every call kept would be seen."""

LARGEST_GROWTH = 40  # MB over 18 calls; a call handles a few MB


def test_memory_stays_flat(load_benchmark):
    result = load_benchmark("long_run").measure(20)
    assert result["megabytes"][-1][0] == 20
    assert result["growth_mb"] < LARGEST_GROWTH
