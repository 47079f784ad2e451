"""Class folders are matched with classes, or refused with the folder's name."""

import json
from pathlib import Path

import pytest

from fca_edge.accuracy.classes import class_indices
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.labels import read_labels

HERE = Path("val")
ANIMALS = ("cat", "dog", "eel")


def test_by_label_in_the_order_of_the_labels() -> None:
    assert class_indices(HERE, ["dog", "cat"], ("dog", "eel", "cat"), 3) == {"dog": 0, "cat": 2}


def test_a_label_that_is_a_number_is_a_label() -> None:
    assert class_indices(HERE, ["5", "3"], ("5", "3", "9"), 3) == {"5": 0, "3": 1}


def test_by_number() -> None:
    assert class_indices(HERE, ["000", "2"], ANIMALS, 3) == {"000": 0, "2": 2}
    assert class_indices(HERE, ["1"], None, 3) == {"1": 1}


def test_by_order_where_nothing_has_a_name() -> None:
    assert class_indices(HERE, ["n2", "n1"], None, 2) == {"n1": 0, "n2": 1}


@pytest.mark.parametrize(
    ("names", "labels", "words"),
    [
        (["cat", "doge"], ANIMALS, "class folder 'doge' is none of the 3 labels"),
        (["katze", "hund"], ANIMALS, "no class folder is a label: 'katze', 'hund'"),
        (["0", "3"], None, "class folder '3' is beyond the 3 classes"),
        (["1", "01"], None, "same number"),
        (["2", "1", "10"], None, "by number or in the order of training scripts"),
        (["a", "b"], None, "2 class folders .'a', 'b'. for 3 classes that have no names"),
        (["cat"], ("cat", "dog"), "2 labels were given for 3 classes"),
        (["cat"], ("cat", "cat", "dog"), "'cat' is that of several classes"),
    ],
)
def test_folders_that_do_not_fit(
    names: list[str], labels: tuple[str, ...] | None, words: str
) -> None:
    with pytest.raises(FcaEdgeError, match=words) as caught:
        class_indices(HERE, names, labels, 3)
    assert "\n" not in str(caught.value)


def test_labels_from_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ANIMALS))
    (tmp_path / "a.txt").write_text("cat\ndog \neel\n")
    assert read_labels(tmp_path / "a.json") == read_labels(tmp_path / "a.txt") == ANIMALS
    (tmp_path / "b.json").write_text('{"0": "cat"}')
    with pytest.raises(FcaEdgeError, match="not labels"):
        read_labels(tmp_path / "b.json")
    with pytest.raises(FcaEdgeError, match="no such file"):
        read_labels(tmp_path / "none.txt")


def test_the_folder_above_the_class_folders(tmp_path: Path) -> None:
    (tmp_path / "val" / "cat").mkdir(parents=True)
    with pytest.raises(UsageError, match="no class folders; they are in "):
        class_indices(tmp_path, ["val"], ANIMALS, 3)
