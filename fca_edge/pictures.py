"""Properties of pictures that a user should know of: counted, then written as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fca_edge.preprocess import Listing, Preprocessing

MARKS = ("exif", "transparent", "deep", "dim", "frames")


@dataclass
class Seen:
    """Pictures by mark (`decode.Picture`); one that is read twice counts once."""

    paths: dict[str, set[Path]] = field(default_factory=lambda: {mark: set() for mark in MARKS})

    def add(self, path: Path, marks: Iterable[str]) -> None:
        """Remember the marks of a picture."""
        for mark in marks:
            self.paths[mark].add(path)

    def describe(
        self, preprocessing: Preprocessing, listing: Listing | None = None
    ) -> dict[str, Any]:
        """Return the counts, and what was done, for a report or a manifest."""
        counts = {mark: len(paths) for mark, paths in self.paths.items()}
        others = dict(sorted(listing.others.items())) if listing else {}
        settings = {"exif_orientation": preprocessing.exif, "background": preprocessing.background}
        return {**counts, **settings, "other_files": others}


def describe_pictures(pictures: Mapping[str, Any], folder: Path | str) -> list[str]:
    """Say in sentences what `Seen.describe` returned."""
    notes = []
    if number := pictures["exif"]:
        applied = pictures["exif_orientation"] == "apply"
        notes.append(
            f"{folder}: {write_count(number)} an EXIF orientation, which was "
            + (
                "applied (--exif ignore leaves it out, as most training loaders do)."
                if applied
                else "ignored, as most training loaders do; --exif apply turns them upright."
            )
        )
    if number := pictures["transparent"]:
        background = pictures["background"]
        laid = (
            "was dropped"
            if background == "none"
            else f"was laid on {background if isinstance(background, str) else list(background)}"
        )
        notes.append(
            f"{folder}: {write_count(number)} transparency, which {laid}; choose with --background"
            " white, black, none or R,G,B."
        )
    if number := pictures["deep"]:
        notes.append(f"{folder}: {write_count(number)} more than 8 bits per channel; scaled to 8.")
    if number := pictures["dim"]:
        notes.append(
            f"{folder}: {write_count(number)} no value above 1/8 of full scale: 10 or 12 bits"
            " stored in 16? Such pictures come out nearly black; scale their values to 16 bits."
        )
    if number := pictures["frames"]:
        notes.append(f"{folder}: {write_count(number)} several frames; only the first was read.")
    if pictures["other_files"]:
        listing = Listing()
        listing.others.update(pictures["other_files"])
        notes.append(f"{folder}: {listing.other_files}.")
    return notes


def write_count(number: int) -> str:
    """Begin a sentence about some pictures."""
    return "1 picture has" if number == 1 else f"{number} pictures have"
