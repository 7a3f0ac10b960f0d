"""The package loads lazily: importing it, or ASE finding it, brings in neither torch nor e3nn."""

import subprocess
import sys

import pytest

import ase_tracegrad

HEAVY = ("torch", "e3nn", "scipy", "h5py", "matplotlib")


def modules_after(code: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.split())


def test_import_is_light():
    loaded = modules_after("import ase_tracegrad; assert 'read' in dir(ase_tracegrad)")
    assert not loaded & {*HEAVY, "ase", "numpy"}


def test_ase_io_loads_the_plugin_but_no_network():
    loaded = modules_after("import ase.io")
    assert "ase_tracegrad._ase_plugin" in loaded
    assert not loaded & {"torch", "e3nn", "ase_tracegrad.calculator", "h5py"}


def test_command_line_help_is_light():
    assert not modules_after("import ase_tracegrad.cli") & {*HEAVY, "ase"}


def test_cheap_commands_stay_cheap():
    run = "from ase_tracegrad.cli import main\ntry: main({!r})\nexcept SystemExit: pass"
    assert not modules_after(run.format(["models"])) & {"torch", "e3nn", "ase"}
    assert not modules_after(run.format(["gap", "nowhere.xyz"])) & {*HEAVY, "ase"}


def test_public_names():
    assert set(ase_tracegrad.__all__) == {*ase_tracegrad._HOME, "__version__"}
    for name in ase_tracegrad.__all__:
        assert getattr(ase_tracegrad, name) is not None
    with pytest.raises(AttributeError, match="TraceGradCalculator"):
        _ = ase_tracegrad.nonsense
