"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import read_json
from fca_edge.store import move_into, staging, write_text


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert not (tmp_path / "out").exists()


def test_files_move_out_of_staging(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        (folder / "a").write_text("x")
        assert move_into([folder / "a"], tmp_path) == [tmp_path / "a"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FcaEdgeError, match="choose another --out"), staging(tmp_path / "out"):
        pass


def test_write_text_refuses_and_forces(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "1")
    with pytest.raises(FcaEdgeError, match="--force"):
        write_text(tmp_path / "a.json", "2")
    write_text(tmp_path / "a.json", "2", force=True)
    assert read_json(tmp_path / "a.json") == 2


def test_json_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FcaEdgeError, match="not readable as JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FcaEdgeError, match="no such file"):
        read_json(tmp_path / "b.json")
