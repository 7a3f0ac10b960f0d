"""What a run says about itself: log.csv, TensorBoard where asked for, and a line with the time that is left."""

import csv
import logging
import time
from pathlib import Path

from ..nn.config import ConfigError
from ..replace_file import replace_text

log = logging.getLogger(__name__)

LOG_FILE = "log.csv"
SHOWN = ("mae_all", "mae_onsite", "band_rmse")


class TrainingLog:
    """One row per validation in out/log.csv, the same figures in out/tensorboard, and a line for the reader.

    ConfigError if TensorBoard is asked for and not installed.
    """

    def __init__(self, out: Path, epochs: int, *, tensorboard: bool = False):
        self.path, self.epochs = out / LOG_FILE, epochs
        self._writer_class = _find_tensorboard() if tensorboard else None
        self._writer = None

    def begin(self, epoch: int):
        """Start at this epoch: rows of later ones, written after the state that is resumed, are dropped."""
        if epoch == 0:
            self.path.unlink(missing_ok=True)  # of an earlier run that is not resumed
        elif self.path.exists():
            lines = self.path.read_text().splitlines()
            kept = lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= epoch]
            replace_text(self.path, "\n".join(kept) + "\n")
        if self._writer_class is not None:
            self._writer = self._writer_class(str(self.path.parent / "tensorboard"), purge_step=epoch + 1 if epoch else None)
        self._started = time.monotonic(), epoch

    def add(self, row: dict, learning_rate: float):
        """Append a row (its first entry is the epoch) and say where the run stands."""
        new = not self.path.exists()
        header = list(row)
        if not new:  # an older version's log keeps its columns
            with open(self.path, newline="") as file:
                header = next(csv.reader(file))
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, header, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row)
        if self._writer is not None:
            for name, value in ({"learning_rate": learning_rate} | row).items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, row["epoch"])
            self._writer.flush()
        figures = ", ".join(f"{name} {row[name]:.3f}" for name in SHOWN if name in row)
        log.info("epoch %d/%d: %s meV; %s", row["epoch"], self.epochs, figures, self._time_left(row["epoch"]))

    def _time_left(self, epoch: int) -> str:
        """Measured in this process only, by the wall clock."""
        began, first = self._started
        per_epoch = (time.monotonic() - began) / max(1, epoch - first)
        return f"{per_epoch:.3g} s per epoch, {format_duration(per_epoch * (self.epochs - epoch))} left"

    def close(self):
        """Close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def format_duration(seconds: float) -> str:
    """'45 s', '12 min' or '3 h 05 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _find_tensorboard():
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboard = true needs the package tensorboard, which is not installed here: "
            "pip install 'ase_tracegrad[tensorboard]', or set tensorboard to false (log.csv has the same figures)"
        ) from error
    return SummaryWriter
