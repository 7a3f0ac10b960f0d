"""The tables of SCF runs from a made-up result."""

import pytest


@pytest.fixture
def tables(script):
    return script("scf_tables")


def make_group(molecules: int, cycles: float) -> dict:
    parts = dict.fromkeys(("prediction_seconds", "functional_seconds", "gradient_seconds", "response_seconds"), 0.5)
    errors = {"energy_error": 1.25, "estimated_energy_error": 3.5, "force_mae": 40.0, "force_mae_without_response": 90.0}
    return {
        "molecules": molecules,
        "starts": {"minao": {"cycles": 10.0}, "1e": {"cycles": 14.0}, "label": {"cycles": 3.0}},
        "models": {
            "one": {
                "cycles": cycles,
                "cycles_ratio": {"minao": cycles / 10},
                "seconds_ratio": {"minao": 0.75},
                "same_energy": 0.95,
                "scf_over_prediction": 123.4,
                "density": errors | parts | {"force_size": 1200.0},
            }
        },
    }


def test_a_row_for_each_group_of_several_and_model(tables):
    groups = {"all": make_group(5, 7.0), "10 heavy atoms": make_group(1, 8.0), "9 heavy atoms": make_group(2, 6.0)}
    result = {"summary": groups | {"split test": make_group(3, 6.5)}}
    rows = tables.cycle_table(result).splitlines()[2:]
    assert rows[0] == "| split test (3) | one | 6.5 | 10.0 | 0.65 | 14.0 | - | - | 3.0 | 0.75 | 95% | 123 |"
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| all (5)", "| 9 heavy atoms (2)"]
    assert tables.density_table(result).splitlines()[2] == "| split test (3) | one | 1.25 | 3.50 | 40 | 90 | 1200 | 2.0 |"


def test_nothing_measured(tables):
    assert "No SCF" in tables.cycle_table(None)
    group = make_group(1, 5.0)
    del group["models"]["one"]["density"]
    assert "No forces" in tables.density_table({"summary": {"all": group}})
