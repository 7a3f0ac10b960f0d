"""Damage to files, drawn from a seed: what broken disks, cut transfers, editors and malice leave behind."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np

NUMBERS = ("nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "0", "-1", "0.5", "2147483648", "9" * 19, "9" * 40, "1e999", "", "x")
JSON_VALUES = (None, True, -1, 0, 1.5, 10**400, 2**63, float("nan"), float("inf"), "", "x", "1x0e", [], {}, [[]], [None], {"a": {}})
LARGE = 10**13  # elements of a data set that is only announced
TEXTS = {".json", ".dat", ".yaml", ".pao", ".orb", ".ion", ".xml", ".bs", ".csr", ".out", ".py", ""}
JSON_FILES = {".json"}


def damage_file(path: Path, rng: np.random.Generator):
    """Change the file in one or a few places, in a way that fits its kind half of the time."""
    kinds = [damage_bytes]
    if path.suffix in TEXTS:
        kinds += [damage_text]
    if path.suffix in JSON_FILES:
        kinds += [damage_json_file]
    if path.suffix == ".h5":
        kinds += [damage_hdf5]
    if path.suffix == ".safetensors":
        kinds += [damage_safetensors]
    if path.suffix == ".db":
        kinds += [damage_sqlite]
    kind = kinds[0] if len(kinds) == 1 or rng.random() < 0.3 else kinds[rng.integers(1, len(kinds))]
    try:
        kind(path, rng)
    except (OSError, ValueError, LookupError, RuntimeError, TypeError, sqlite3.DatabaseError):  # it is damaged already
        damage_bytes(path, rng)


def damage_bytes(path: Path, rng: np.random.Generator):
    """Flip, cut, insert, repeat or blank bytes."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 6)):
        if not data:
            break
        # Heads of files are small and decide most.
        at = int(rng.integers(len(data))) if rng.random() < 0.6 else int(rng.integers(min(len(data), 512)))
        length = int(rng.integers(1, 64))
        match rng.integers(6):
            case 0 | 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                data[at : at + 8] = int(rng.integers(2**63)).to_bytes(8, "little")[: len(data) - at]
            case 3:
                del data[at : None if rng.random() < 0.3 else at + length]
            case 4:
                data[at:at] = rng.bytes(length)
            case 5:
                data[at : at + length] = bytes([0, 255][rng.integers(2)] for _ in range(min(length, len(data) - at)))
    path.write_bytes(data)


def damage_text(path: Path, rng: np.random.Generator):
    """Replace a word by an impossible number, drop, double or empty lines."""
    text = path.read_text(errors="replace")
    for _ in range(rng.integers(1, 3)):
        words, lines = list(re.finditer(r"\S+", text)), text.splitlines(keepends=True)
        if not words:
            break
        match rng.integers(5):
            case 0 | 1 | 2:
                word = words[rng.integers(len(words) if rng.random() < 0.5 else min(len(words), 40))]
                text = text[: word.start()] + NUMBERS[rng.integers(len(NUMBERS))] + text[word.end() :]
            case 3:
                del lines[rng.integers(len(lines))]
                text = "".join(lines)
            case 4:
                at = int(rng.integers(len(lines)))
                text = "".join(lines[:at] + lines[at : at + 1] * 2 + lines[at:])
    path.write_text(text)


def damage_json(value, rng: np.random.Generator):
    """The value with one of its parts replaced, removed or buried under brackets."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[rng.integers(len(keys))]
        changed = dict(value) if isinstance(value, dict) else list(value)
        if rng.random() < 0.15:
            del changed[key]
        elif isinstance(value, dict) and rng.random() < 0.1:
            changed[str(NUMBERS[rng.integers(len(NUMBERS))])] = changed.pop(key)
        else:
            changed[key] = damage_json(value[key], rng)
        return changed
    return JSON_VALUES[rng.integers(len(JSON_VALUES))]


def damage_json_text(text: str, rng: np.random.Generator) -> str:
    """The same for JSON as text; now and then nested deeper than any parser can follow."""
    if rng.random() < 0.08:
        return '{"a":' * 20_000 if rng.random() < 0.5 else "[" * 100_000
    return json.dumps(damage_json(json.loads(text), rng))


def damage_json_file(path: Path, rng: np.random.Generator):
    """Of a file that is JSON."""
    path.write_text(damage_json_text(path.read_text(), rng))


def damage_hdf5(path: Path, rng: np.random.Generator):
    """Replace a data set by one of another shape, type or content, or remove it; change or remove an attribute."""
    names: list[str] = []
    with h5py.File(path, "r+") as file:
        file.visit(names.append)
        name = names[rng.integers(len(names))] if rng.random() < 0.8 else "/"
        item = file[name]
        if len(item.attrs) and rng.random() < 0.5:
            key = sorted(item.attrs)[rng.integers(len(item.attrs))]
            _damage_attribute(item.attrs, key, rng)
        elif name != "/" and isinstance(item, h5py.Dataset):
            content = item[()]
            del file[name]
            _damage_dataset(file, name, content, rng)
        elif name != "/":
            del file[name]
            if rng.random() < 0.5:
                file[name] = 1.0


def _damage_attribute(attributes, key: str, rng: np.random.Generator):
    value = attributes[key]
    if rng.random() < 0.2:
        del attributes[key]
    elif isinstance(value, str) and value[:1] in "[{":
        attributes[key] = damage_json_text(value, rng)[:60_000]
    else:
        attributes[key] = ["x", 7, 1.5, [1, 2], b"\xff\xfe", np.nan][rng.integers(6)]


def _damage_dataset(file: h5py.File, name: str, content, rng: np.random.Generator):
    content = np.asarray(content)
    match rng.integers(8):
        case 0:
            file.create_dataset(name, shape=(LARGE,), dtype=content.dtype, chunks=(1024,), compression="gzip")
        case 1:
            shape = (10**7, *content.shape[1:])
            file.create_dataset(name, shape=shape, dtype=content.dtype, chunks=True, compression="gzip")
        case 2:
            file[name] = content.ravel()[: max(1, content.size // 2)]
        case 3:
            file[name] = "text"
        case 4:
            file[name] = content[..., None]
        case 5:
            file[name] = np.full(content.shape, [np.nan, np.inf, 1e308][rng.integers(3)])
        case 6:
            changed = np.array(content, dtype=float if content.dtype.kind in "iub" else content.dtype)
            if changed.size:
                changed.flat[rng.integers(changed.size)] = [np.nan, -1, 1e300, 2.0**63][rng.integers(4)]
            whole = content.dtype.kind in "iu" and rng.random() < 0.5
            file[name] = np.nan_to_num(changed).clip(-(2**62), 2**62).astype(np.int64) if whole else changed
        case 7:
            pass  # it is gone


def damage_safetensors(path: Path, rng: np.random.Generator):
    """Change the JSON header, whose texts are JSON again, and its length."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.get("__metadata__", {})
    match rng.integers(5):
        case 0:
            text = json.dumps(damage_json(header, rng))
        case 1 | 2 | 3:
            key = sorted(metadata)[rng.integers(len(metadata))]
            metadata[key] = damage_json_text(metadata[key], rng) if metadata[key][:1] in "[{" else "x"
            text = json.dumps(header)
        case 4:
            tensors = sorted(header.keys() - {"__metadata__"})
            entry = header[tensors[rng.integers(len(tensors))]]
            entry["shape"] = [[LARGE, LARGE], [2**62, 4], [-1], [1] * 40, []][rng.integers(5)]
            text = json.dumps(header)
    announced = len(text.encode()) if rng.random() < 0.9 else int(rng.choice([2**62, 10**8, 0, 3]))
    path.write_bytes(announced.to_bytes(8, "little") + text.encode() + body)


def damage_sqlite(path: Path, rng: np.random.Generator):
    """Replace a value of a row by one of another type or size, or rename a column."""
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(data)")]
        column = columns[rng.integers(len(columns))]
        if rng.random() < 0.1:
            connection.execute(f"ALTER TABLE data RENAME COLUMN {column} TO other")
            return
        (value,) = connection.execute(f"SELECT {column} FROM data").fetchone()
        choices = [None, "x", -1, 0, 10**15, 1.5, b"", rng.bytes(24), float("inf")]
        if isinstance(value, bytes):
            changed = bytearray(value)
            changed[rng.integers(len(changed))] ^= 128
            choices += [bytes(changed), value[:-1], value * 2, np.full(len(value) // 8, np.nan).tobytes()] * 2
        connection.execute(f"UPDATE data SET {column} = ?", (choices[rng.integers(len(choices))],))
