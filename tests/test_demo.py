import pytest

from ase_tracegrad.demo import run_demo


@pytest.mark.parametrize("model", ["silicon-pbe", "/somewhere/else.safetensors", "../models/graphene-pbe"])
def test_a_model_without_stored_bands_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="stored CP2K bands, which exist for graphene-pbe; found"):
        run_demo(tmp_path / "out", model)
    assert not (tmp_path / "out").exists()
