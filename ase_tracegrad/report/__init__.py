"""Reports: one HTML file that holds everything, for one structure (structure.py) or a screening (screening.py)."""

from .screening import write_screening_report
from .structure import write_structure_report

__all__ = ["write_screening_report", "write_structure_report"]
