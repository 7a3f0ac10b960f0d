"""Many structures through a model: screen, collect, and what they left on disk.

``screen(structures, model, properties, out=...)`` computes; ``iterate_rows(out)`` and ``collect(out)`` read.
"""

from .collect import Collected, collect
from .driver import RunOptions, ScreenSummary, screen
from .settings import PROPERTIES, ScreenSettings
from .shards import ScreenError, iterate_rows, read_settings

__all__ = [
    "PROPERTIES",
    "Collected",
    "RunOptions",
    "ScreenError",
    "ScreenSettings",
    "ScreenSummary",
    "collect",
    "iterate_rows",
    "read_settings",
    "screen",
]
