"""kill -9 in the middle: nothing is lost, nothing is silently wrong, and a second run does what is missing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ase_tracegrad.io.convert import convert
from ase_tracegrad.io.deeph import write_deeph_legacy
from ase_tracegrad.io.store import StoreReader, content_hash
from ase_tracegrad.labels.campaign import label_path, run_campaign
from tests.io.samples import make_sample
from tests.trouble.label_run import make_jobs

ROOT = Path(__file__).resolve().parents[2]
# Dies just before a finished file takes its place: the part is complete, which is when it could be mistaken for the whole.
DIE = """
import os, signal, sys
replace, left = os.replace, [int(sys.argv[1])]
def die(*arguments):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments)
os.replace = die
"""


def run_killed(code: str, at: int, *arguments):
    """Run Python code that is killed at its n-th os.replace."""
    command = [sys.executable, "-c", DIE + code, str(at), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.mark.parametrize("at", [3, 5])  # options.json, a, b, c, the whole
def test_conversion(tmp_path, at):
    for name in ("a", "b", "c"):
        write_deeph_legacy(tmp_path / "in" / name, make_sample((6, 1), seed=ord(name)))
    convert(tmp_path / "in", tmp_path / "whole.h5", "packed")
    code = "from ase_tracegrad.io.convert import convert\nconvert(sys.argv[2], sys.argv[3], 'packed')"
    run_killed(code, at, tmp_path / "in", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
    assert list(tmp_path.rglob("*.part"))
    done = convert(tmp_path / "in", tmp_path / "out.h5", "packed")
    assert done.finished == (["a"] if at == 3 else ["a", "b", "c"])
    with StoreReader(tmp_path / "out.h5") as store, StoreReader(tmp_path / "whole.h5") as whole:
        assert content_hash(store) == content_hash(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.h5", "whole.h5"]


@pytest.fixture
def one_thread():
    """The same number of threads here, where other tests may have set it, and in a new process: it decides the order of sums."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_training(tmp_path):
    """Killed while the state of the second epoch is written; the end is that of a run without trouble, bit for bit."""
    torch = pytest.importorskip("torch")
    from tests.fit.cases import write_store
    from tests.fit.test_trainer import make_trainer, weights

    data = write_store(tmp_path / "data.h5")
    code = (
        "import torch; from pathlib import Path; from tests.fit.test_trainer import make_trainer\n"
        "torch.set_num_threads(1)\n"
        "make_trainer(Path(sys.argv[2]), Path(sys.argv[3])).run(progress=False)"
    )
    whole = make_trainer(data, tmp_path / "whole")
    files = []
    replace = os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.replace", lambda a, b: (files.append(Path(b).name), replace(a, b)))
        whole.run(progress=False)
    second = [k for k, name in enumerate(files, 1) if name == "state.pt"][1]
    run_killed(code, second, data, tmp_path / "killed")
    resumed = make_trainer(data, tmp_path / "killed")
    resumed.resume()
    assert resumed.epoch == 1
    resumed.run(progress=False)
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(resumed).items())


def test_labels(tmp_path):
    """The whole campaign is killed, not a worker: what is finished stays; no worker and no program of one goes on in secret."""
    out = tmp_path / "labels"
    campaign = subprocess.Popen([sys.executable, "-m", "tests.trouble.label_run", str(tmp_path)], cwd=ROOT, start_new_session=True)
    try:
        wait_for(lambda: label_path(out, "a").exists() and (tmp_path / "worker").exists(), campaign)
        processes = [int(number) for number in (tmp_path / "worker").read_text().split()]
        assert all(map(is_alive, processes))
        campaign.kill()
        campaign.wait()
        wait_for(lambda: not any(map(is_alive, processes)))
    finally:
        campaign.kill()
        campaign.wait()
    finished = label_path(out, "a").stat().st_mtime_ns
    (tmp_path / "go").touch()
    assert [row["ok"] for row in run_campaign(make_jobs(tmp_path), out, workers=1)] == [True, True]
    assert label_path(out, "a").stat().st_mtime_ns == finished
    for name, value in (("a", 0.5), ("b", 0.25)):
        with StoreReader(label_path(out, name)) as store:
            assert np.array_equal(store[name].hamiltonian.values, [value])
    assert sorted(path.name for path in out.iterdir()) == ["a.h5", "b.h5"]


def is_alive(process: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, process: subprocess.Popen | None = None):
    deadline = time.monotonic() + 240
    while not condition():
        assert process is None or process.poll() is None, "the campaign ended by itself"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
