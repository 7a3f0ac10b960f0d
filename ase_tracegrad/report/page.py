"""One self-contained HTML page: template, style, scripts and data; nothing is fetched, nothing in the data can act.

The numbers stand in the page as JSON, in which <, >, & and the line separators of JavaScript are written as \\u escapes:
no text of a structure can end the element. A Content-Security-Policy allows this page's own script and style, by their
SHA-256, and no request at all.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from ..replace_file import replace_file

ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
DIGITS = 7  # of floats; energies to 1e-6 eV


def make_page(title: str, description: str, scripts: Sequence[str], data: Mapping[str, Any]) -> str:
    """The page as text; scripts: names of files of this folder, in the order in which they run; data: see ``write_json``."""
    style, script = read_asset("report.css"), "\n".join(read_asset(name) for name in scripts)
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    fields = {
        "TITLE": html.escape(title),
        "DESCRIPTION": html.escape(description),
        "POLICY": html.escape(policy, quote=True),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": write_json(data),
    }
    # One pass, so that a field whose text looks like another's place is left alone.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: fields[match[1]], read_asset("page.html"))


def write_page(path, text: str):
    """Write a page as UTF-8, complete or not at all."""
    with replace_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(data) -> str:
    """JSON for a script element: arrays as lists, floats with DIGITS digits, nan and infinities as null."""
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(ESCAPES)


def read_asset(name: str) -> str:
    """The text of a style, script or template of this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _plain(value):
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise TypeError(f"a report holds numbers, text, lists and mappings; found {type(value).__name__}")
