"""The table of `fca-edge export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fca_edge.commands.tables import Column, Sheet, say

if TYPE_CHECKING:
    from fca_edge.export.pipeline import Exported

COLUMNS = (
    Column("file", kind="name"),
    Column("runtime", kind="text"),
    Column(
        "SNR dB", legend="how far the error is below the logits; 20 more are a tenth of the error"
    ),
    Column("largest error", 1, legend="of any logit against the float64 network"),
    Column("same class", 2, legend="of the inputs, as the float64 network says"),
)
ACCURACY = (Column("top-1 %"), Column("drop", legend="points of top-1 against the checkpoint"))
DETAILS = (
    Column("file MB", 3),
    Column("operators", 5),
    Column("partitions", 4, legend="parts of the graph that XNNPACK, the fast path, took"),
)


def sheet_of(exported: list[Exported]) -> Sheet:
    """One row a file and runtime."""
    judged = "accuracy" in exported[0].manifest
    sheet = Sheet((*COLUMNS, *(ACCURACY if judged else ()), *DETAILS))
    for item in exported:
        size = f"{item.manifest['bytes'] / 1e6:.1f}"
        operators = str(sum(item.manifest["operators"].values()))
        name = item.path.name
        for found in item.manifest["verification"]["runtimes"]:
            runtime = f"{found['runtime']} {found['version']}"
            together = f", batch of {found['batch']}" if found["batch"] > 1 else ""
            sheet.add(
                name,
                runtime + together,
                f"{found['snr_db']:.1f}",
                f"{found['max_abs']:.2g}",
                f"{100 * found['top1_agreement']:.0f} %",
                *(accuracy_cells(item, runtime) if judged else ()),
                size,
                operators,
                "" if found["partitions"] is None else str(found["partitions"]),
            )
            name = size = operators = ""
    return sheet


def accuracy_cells(item: Exported, runtime: str) -> tuple[str, ...]:
    """Top-1 and drop of a file on a runtime, where its export had labelled images."""
    for found in item.manifest.get("accuracy", {}).get("runtimes", ()):
        if found["runtime"] == runtime:
            return f"{found['top1']['percent']:.2f}", f"{found['drop_points']:.2f}"
    return "", ""


def print_hints(exported: list[Exported]) -> None:
    """Say what each precision is good for."""
    for item in exported:
        made = item.manifest["quantization"]
        if made is not None:
            say(f"{item.path.name}: {made['hint']}.")


def warnings_of(exported: list[Exported]) -> list[str]:
    """Name the files whose calibration has shown nothing."""
    texts = []
    for item in exported:
        pictures = (item.manifest["quantization"] or {}).get("calibration")
        if pictures and pictures["of_one_colour"]:
            texts.append(
                f"{item.path.name}: {pictures['of_one_colour']} of the {pictures['images']}"
                " calibration images are of one colour, which show no range of what the network"
                " will see; give --calibration pictures like those."
            )
    return texts
