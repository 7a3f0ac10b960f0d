import json
from collections import Counter

import pytest

from ase_tracegrad.io.splits import SPLITS, deal_splits, make_splits, read_splits

NAMES = [f"x{k}" for k in range(10)]


def test_shares():
    splits = make_splits("0.6,0.3,0.1", NAMES)
    assert Counter(splits.values()) == {"train": 6, "validation": 3, "test": 1}
    assert splits == make_splits("0.6,0.3,0.1", NAMES[::-1])
    assert set(make_splits("0.98, 0.01, 0.01", NAMES).values()) == set(SPLITS)  # none is empty


def test_a_file(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": ["x0", "x1"], "validation": ["x2"], "strained": ["x9"]}))
    assert make_splits(str(path), NAMES) == {"x0": "train", "x1": "train", "x2": "validation", "x9": "strained"}


@pytest.mark.parametrize("text", ["0.8,0.2", "0.8,0.1,0.2", "1,0,0", "1.2,-0.1,-0.1", "0.8"])
def test_shares_that_are_none(text):
    with pytest.raises(ValueError, match=f"splits {text}: expected three positive shares that add up to 1"):
        make_splits(text, NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON such as .*train"),
        ('["x0"]', "expected JSON such as"),
        ('{"train": 3}', "expected JSON such as"),
        ('{"train": "x0"}', "a split is no list"),
        ('{"train": [["x0"]]}', "expected JSON such as"),
        ('{"train": ["x0"], "test": ["x0"]}', "stands in two splits"),
        ('{"train": ["y0"]}', "names ..y0.., which are not there; names look like ..x0., .x1., .x2"),
    ],
)
def test_files_that_are_wrong(tmp_path, content, message):
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_splits(path, NAMES)


def test_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of splits at nowhere\.json"):
        make_splits("nowhere.json", NAMES)
    with pytest.raises(ValueError, match="2 structures are too few for three splits"):
        deal_splits(NAMES[:2], [0, 1, 1])
