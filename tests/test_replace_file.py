import pytest

from ase_tracegrad.replace_file import replace_file, replace_folder, replace_text


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.json"
    replace_text(path, "old")
    with replace_file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, written, error):
    path = tmp_path / "a.json"
    replace_text(path, "old")

    def write_half():
        with replace_file(path) as part:
            if written:
                part.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "a"
    (tmp_path / "deep" / "a.part").mkdir(parents=True)
    (tmp_path / "deep" / "a.part" / "old").touch()  # of a run that was killed
    with replace_folder(path) as part:
        (part / "x").touch()
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["x"]
    with pytest.raises(KeyboardInterrupt), replace_folder(tmp_path / "deep" / "b"):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="not empty"), replace_folder(path) as part:
        (part / "y").touch()
    assert [p.name for p in path.parent.iterdir()] == ["a"]
