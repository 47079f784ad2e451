"""Parity of an artefact, on its own runtime, with the float64 network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.errors import FcaEdgeError, NotEquivalentError
from fca_edge.manifest import Parity
from fca_edge.runtimes import RUNTIMES
from fca_edge.stats import snr_db
from fca_edge.tables.document import Document, Printable
from fca_edge.targets.call import AgentError, Event
from fca_edge.targets.outputs import run_artefact

Array = NDArray[Any]

PERSISTENT = 3


@dataclass(frozen=True)
class Check:
    """The parity of one file on one runtime.

    Attributes:
        file: its name.
        shortfall: what is not good enough about it, in words; None if it is equal.
    """

    file: str
    parity: Parity
    shortfall: str | None

    @property
    def equal(self) -> bool:
        """Tell whether the file is as close to the float64 network as it must be."""
        return self.shortfall is None

    def to_dict(self) -> dict[str, Any]:
        """Return a row of `fca-edge verify --json`."""
        return {"file": self.file, **self.parity.to_dict(), "equal": self.equal}


@dataclass(frozen=True)
class Checks(Printable, Sequence[Check]):
    """Parity of one or more files with the float64 network; a sequence of `Check`.

    Attributes:
        checks: one per file and runtime, and per batch size if the batch is dynamic.
        notes: on what else than at the export they were compared.
    """

    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        return self.checks[index]

    def __len__(self) -> int:
        return len(self.checks)

    @property
    def equal(self) -> bool:
        """Tell whether every file is equal on every runtime."""
        return all(check.equal for check in self.checks)

    @property
    def snr_db(self) -> dict[tuple[str, str], float]:
        """Signal-to-noise ratio in dB by (file, runtime); 20 more are a tenth of the error."""
        return {(c.file, c.parity.runtime): c.parity.snr_db for c in self.checks}

    def document(self) -> Document:
        """Return one row per file and runtime."""
        from fca_edge.reporting.check_table import build_sheet

        document = Document()
        document.add_sheets([build_sheet(self.checks)])
        return document

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the rows, as `fca-edge verify --json` writes them."""
        return [check.to_dict() for check in self.checks]

    def raise_if_not_equal(self) -> None:
        """Turn a failure into an error.

        Raises:
            NotEquivalentError: names every file that is not equal, and how far off it is.
        """
        failures = [f"{c.file}: {c.shortfall}" for c in self.checks if c.shortfall]
        if failures:
            raise NotEquivalentError("; ".join(failures))


def in_layout(images: Array, layout: str) -> Array:
    """Turn images (n, 3, H, W) into the layout of an artefact's input."""
    return images if layout == "nchw" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def compare_logits(reference: Array, logits: Array) -> dict[str, float]:
    """Compute the figures of `Parity` for logits (inputs, classes, ...)."""
    reference = np.asarray(reference, np.float64)
    difference = np.asarray(logits, np.float64) - reference
    span = float(reference.max() - reference.min())
    max_abs = float(np.abs(difference).max())
    by_input = [(part**2).reshape(len(part), -1).sum(1) for part in (reference, difference)]
    with np.errstate(divide="ignore", invalid="ignore"):
        worst = float((10 * np.log10(by_input[0] / by_input[1])).min())
    return {
        "max_abs": max_abs,
        "relative": max_abs / span if span else float("inf"),
        "snr_db": snr_db(reference, logits),
        "worst_snr_db": worst,
        "top1_agreement": float((logits.argmax(1) == reference.argmax(1)).mean()),
    }


def compare_labels(reference: Array, labels: Array) -> dict[str, float]:
    """Compute the figures of `Parity` for labels (inputs, H, W) of logits (inputs, K, h, w).

    The error of a pixel is by how much the logit of its label falls short of the best one's, of
    the enlarged logits. So `max_abs` is the widest margin that a label was wrong across, and
    equal labels have no error, however close their logits are.
    """
    figures = [compare_label_map(one, part) for one, part in zip(reference, labels)]
    powers, errors, most, same, spans = (np.asarray(column) for column in zip(*figures))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = 10 * np.log10(powers / errors)
        total = float(10 * np.log10(powers.sum() / errors.sum()))
    span = float(spans.max())
    return {
        "max_abs": float(most.max()),
        "relative": float(most.max()) / span if span else float("inf"),
        "snr_db": total,
        "worst_snr_db": float(ratios.min()),
        "top1_agreement": float(same.mean()),
    }


def compare_label_map(logits: Array, labels: Array) -> tuple[float, float, float, float, float]:
    """Compare labels (H, W) with logits (K, h, w): power, error, widest margin, share, span.

    Row by row: the enlarged logits of many classes are large.
    """
    height, width = labels.shape
    rows, columns = (enlarge_line(n, m) for n, m in zip(logits.shape[1:], labels.shape))
    power = error = most = 0.0
    same = 0
    for row, line in zip(rows, labels):
        used = np.flatnonzero(row)
        grown = np.tensordot(row[used], logits[:, used], (0, 1)) @ columns.T  # (K, W)
        best = grown.max(0)
        margin = best - grown[np.minimum(line, len(grown) - 1), np.arange(width)]
        margin[line >= len(grown)] = np.inf  # no class at all
        power, error = power + float((best**2).sum()), error + float((margin**2).sum())
        most, same = max(most, float(margin.max())), same + int((line == grown.argmax(0)).sum())
    span = float(logits.max() - logits.min())
    return power, error, most, same / (height * width), span


def enlarge_line(small: int, large: int) -> Array:
    """Matrix (large, small) that resizes a line bilinearly, from pixel centres."""
    place = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    below = np.minimum(place.astype(int), max(small - 2, 0))
    matrix = np.zeros((large, small))
    matrix[np.arange(large), below] = 1 - (place - below)
    if small > 1:
        matrix[np.arange(large), below + 1] = place - below
    return matrix


def measure(
    artefact: Path,
    runtime_name: str,
    inputs: Array,
    reference: Array,
    threads: int = 1,
    together: bool = False,
    settings: dict[str, Any] | None = None,
) -> tuple[Parity, dict[str, Event]]:
    """Measure parity on one runtime.

    Args:
        inputs: (n, ...) in the artefact's layout.
        reference: float64 logits (n, classes).
        together: feed the inputs as one batch.
        settings: of `lean.py`, to load with it.

    Raises:
        NotEquivalentError: the runtime cannot load or run the file.
        TargetUnavailableError: the runtime is not set up.
    """
    try:
        arrays, events = run_artefact(
            artefact,
            RUNTIMES[runtime_name],
            inputs,
            threads=threads,
            together=together,
            settings=settings,
        )
    except AgentError as error:
        raise refusal(artefact, error) from None
    values = arrays["logits"]
    compare = compare_labels if values.dtype == np.uint8 else compare_logits
    figures = compare(reference, values)
    version = str(events["ready"]["version"])
    loaded = events["loaded"]
    parity = Parity(
        runtime_name,
        version,
        loaded["delegate"],
        loaded["partitions"],
        threads,
        len(reference),
        len(reference) if together else 1,
        **figures,
    )
    return parity, events


def refusal(artefact: Path, error: AgentError) -> FcaEdgeError:
    """Tell a file that a runtime refuses from a process that was killed or took too long."""
    if not error.refused:
        return error
    return NotEquivalentError(f"{artefact.name} does not run: {error}")


def shortfall(parity: Parity, floor_db: float) -> str | None:
    """Say what is not good enough about a parity, or None."""
    if not parity.finite:
        return f"its logits on {parity.runtime} {parity.version} are not finite"
    # Written so that NaN fails.
    if not parity.snr_db >= floor_db:
        return (
            f"{parity.snr_db:.1f} dB on {parity.runtime} {parity.version},"
            f" less than {floor_db:g} dB (largest difference {parity.max_abs:.3g})"
        )
    return None


def first_diverging(
    expected: Mapping[str, Array], tensors: Mapping[str, Array], floor_db: float
) -> str:
    """Name the first layer whose tensor falls below the floor.

    Args:
        expected: float64 tensors by the program's node names, in order of execution.
        tensors: the artefact's tensors; a name before a slash is the node that made it.
    """
    last_of: dict[str, Array] = {}
    for name, tensor in tensors.items():
        last_of[name.partition("/")[0]] = tensor
    below: list[str] = []
    for name, tensor in expected.items():
        candidate = last_of.get(name)
        if candidate is None or candidate.size != tensor.size:
            continue
        error = sorted_difference(tensor, candidate)
        if error >= floor_db:
            # A lone bad tensor is one whose memory an in-place operator used again.
            below = []
            continue
        below.append(f"{name} ({error:.1f} dB)")
        if len(below) == PERSISTENT:
            break
    return below[0] if below else "none of the inner tensors; the delegate's own kernels differ"


def first_not_finite(order: Iterable[str], tensors: Mapping[str, Array]) -> str | None:
    """Name the first layer with a tensor that holds infinity or no number, None without any.

    Args:
        order: the program's node names, in order of execution.
        tensors: the artefact's tensors; a name before a slash is the node that made it.
    """
    broken = {
        name.partition("/")[0] for name, tensor in tensors.items() if not np.isfinite(tensor).all()
    }
    return next((name for name in order if name in broken), None)


def sorted_difference(expected: Array, tensor: Array) -> float:
    """SNR in dB of two tensors whose layouts may differ, by their sorted values."""
    a, b = np.sort(expected, axis=None), np.sort(tensor.astype(np.float64), axis=None)
    noise = float(((a - b) ** 2).sum())
    if noise == 0:
        return float("inf")
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(float((a**2).sum()) / noise))
