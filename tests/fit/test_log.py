import csv
import logging
import sys
from types import SimpleNamespace

import pytest

from ase_tracegrad.fit.log import TrainingLog, format_duration
from ase_tracegrad.nn.config import ConfigError


def read(out) -> list[dict]:
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_the_time_that_is_left(tmp_path, caplog):
    log = TrainingLog(tmp_path, 10)
    log.begin(0)
    with caplog.at_level(logging.INFO):
        log.add({"epoch": 4, "mae_all": 1.5, "band_rmse": 2.0}, 1e-3)
    log.add({"epoch": 8, "mae_all": 1.0, "band_rmse": 1.0}, 1e-3)
    assert [(row["epoch"], row["mae_all"]) for row in read(tmp_path)] == [("4", "1.5"), ("8", "1.0")]
    assert "epoch 4/10: mae_all 1.500, band_rmse 2.000 meV; " in caplog.text
    assert caplog.text.rstrip().endswith(" left")


def test_a_resumed_log_drops_later_rows_and_keeps_its_columns(tmp_path):
    """An older version wrote fewer columns."""
    (tmp_path / "log.csv").write_text("epoch,loss\n1,3.0\n2,2.0\n3,1.0\n")
    log = TrainingLog(tmp_path, 5)
    log.begin(2)
    log.add({"epoch": 3, "loss": 1.5, "mae_all": 0.5}, 1e-3)
    assert read(tmp_path) == [{"epoch": "1", "loss": "3.0"}, {"epoch": "2", "loss": "2.0"}, {"epoch": "3", "loss": "1.5"}]


def test_a_new_run_starts_a_new_log(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n1,3.0\n")
    TrainingLog(tmp_path, 5).begin(0)
    assert not (tmp_path / "log.csv").exists()


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"not installed here: pip install 'ase_tracegrad\[tensorboard\]'"):
        TrainingLog(tmp_path, 5, tensorboard=True)
    TrainingLog(tmp_path, 5)


def test_tensorboard_gets_every_figure(tmp_path, monkeypatch):
    """A stand-in for its writer: a resumed run purges what came after its state."""
    calls = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            calls.append(("open", folder, purge_step))

        def add_scalar(self, name, value, step):
            calls.append((name, value, step))

        def flush(self):
            calls.append(("flush",))

        def close(self):
            calls.append(("close",))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    log = TrainingLog(tmp_path, 5, tensorboard=True)
    log.begin(2)
    log.add({"epoch": 3, "mae_all": 1.5}, 1e-3)
    log.close()
    opened = ("open", str(tmp_path / "tensorboard"), 3)
    assert calls == [opened, ("learning_rate", 1e-3, 3), ("mae_all", 1.5, 3), ("flush",), ("close",)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (120, "2 min"), (5340, "89 min"), (5400, "1 h 30 min"), (90060, "25 h 01 min")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text
