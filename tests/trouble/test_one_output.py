"""Two processes on one output: the second one is refused before it writes anything."""

import pytest

from ase_tracegrad.io.convert import convert
from ase_tracegrad.io.deeph import write_deeph_legacy
from ase_tracegrad.labels.campaign import run_campaign
from ase_tracegrad.lock import OutputInUseError, lock_output
from tests.io.samples import make_sample
from tests.trouble.label_run import make_jobs

pytest.importorskip("fcntl", reason="this system has no such locks")


@pytest.mark.parametrize("form", ["packed", "deeph"])
def test_conversions(tmp_path, form):
    write_deeph_legacy(tmp_path / "in" / "a", make_sample((6, 1)))
    out = tmp_path / ("out.h5" if form == "packed" else "out")
    with lock_output(out), pytest.raises(OutputInUseError, match=f"is writing to .*{out.name}: wait for it"):
        convert(tmp_path / "in", out, form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert convert(tmp_path / "in", out, form).written == ["a"]


def test_campaigns(tmp_path):
    with lock_output(tmp_path / "labels"), pytest.raises(OutputInUseError):
        run_campaign(make_jobs(tmp_path), tmp_path / "labels", workers=1)


def test_trainings(tmp_path):
    pytest.importorskip("torch")
    from ase_tracegrad.fit.run import train_model
    from tests.fit.cases import make_training_config, write_store

    config = make_training_config(write_store(tmp_path / "data.h5"), tmp_path / "run")
    with lock_output(tmp_path / "run"), pytest.raises(OutputInUseError):
        train_model(config)
    assert list((tmp_path / "run").iterdir()) == []
