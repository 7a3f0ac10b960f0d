"""One browser for all tests of reports, and the pages they look at."""

import pytest
from ase.build import bulk, molecule

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.batching import OutOfDomainWarning
from ase_tracegrad.report import write_structure_report
from ase_tracegrad.report.structure import ReportOptions
from tests.report.browser import Browser
from tests.standin_model import StandInPredictor

EVIL = "</script><script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">{{DATA}}"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def silicon():
    atoms = bulk("Si")
    atoms.calc = TraceGradCalculator(StandInPredictor(), kpts=(4, 4, 4))
    return atoms


@pytest.fixture(scope="session")
def silicon_page(silicon, tmp_path_factory):
    """A report whose title does its best to break it."""
    path = tmp_path_factory.mktemp("silicon") / "report.html"
    options = ReportOptions("LGX,UG", 60, {"size": (4, 4, 4), "gamma": True}, window=(-14.0, 8.0))
    write_structure_report(silicon, path, name=EVIL, options=options)
    return path


@pytest.fixture(scope="session")
def methane_page(tmp_path_factory):
    atoms = molecule("CH4")
    atoms.calc = TraceGradCalculator(StandInPredictor(out_of_domain="C-H distance of 0.5 A, shortest in training 1.0 A"))
    path = tmp_path_factory.mktemp("methane") / "report.html"
    with pytest.warns(OutOfDomainWarning):
        write_structure_report(atoms, path, name="methane.xyz")
    return path
