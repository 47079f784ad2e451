"""What an artefact is, how it was made and how it was proven: one document, `NAME.json` beside it.

`Manifest` is its only representation in this package. `to_document` writes the JSON beside the file
and `from_document` reads it, of this and older exports; `to_embedded` is the part that stands
in the file itself, for a file that was copied alone. Nothing here imports torch or onnx.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from fca_edge.documents import (
    Check,
    Details,
    Digest,
    Error,
    Name,
    Positive,
    Share,
    Whole,
    read_document,
    whole,
)
from fca_edge.embedded import embedded_fields, find_difference, read_embedded
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.labels import read_label_list
from fca_edge.older_manifests import (
    NOT_TOLD,
    SCHEMA,
    SCHEMA_NAME,
    NewerSchemaError,
    Ratio,
    check_schema,
    fill_in,
)
from fca_edge.parsing import DocumentError, read_json
from fca_edge.preprocess import Preprocessing
from fca_edge.records import Planned
from fca_edge.sizes import ReadSize, write_size
from fca_edge.store import compute_sha256

Precision = Literal["fp32", "fp16", "int8", "int8-static"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Layout = Literal["nchw", "nhwc"]
# What a file gives: per class, or the best class of each pixel of the input, in bytes.
Answer = Literal["logits", "labels"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
LABELS = "labels"

MOST_CLASSES, MOST_CHECKS = 1_000_000, 1000


@dataclass(frozen=True)
class Source:
    """The network and where its weights came from.

    Attributes:
        variant: of the zoo, as `--variant` takes it.
        name: with which the artefacts' file names begin.
        img_size: of the input, in pixels: one number for a square, else height and width.
        trained: False for random weights, which every output then says.
        checkpoint: file name of the checkpoint; None for random weights.
        checkpoint_sha256: of the file, or of the list of its shards.
        weights: the place in the file that was taken, as `--weights` takes it.
        seed: of random weights.
        chosen: the entry of the checkpoint that was taken, in words.
        labels: of the classes, in their order; None where nothing names them.
        preprocessing: what a picture goes through before it is the input.
        assumed: what neither the user nor the file said, in words.
        unsaid: fields of preprocessing that were assumed, and "labels" where there are none.
        notes: what the user should hear of preprocessing and labels, in sentences.
    """

    variant: Name
    name: str
    img_size: ReadSize
    num_classes: Annotated[int, Check(whole(1, MOST_CLASSES))]
    trained: bool
    checkpoint: str | None
    checkpoint_sha256: Digest | None
    weights: str | None
    seed: Whole | None
    chosen: str | None
    labels: Annotated[tuple[str, ...], Check(read_label_list)] | None
    preprocessing: Annotated[Preprocessing, Check(Preprocessing.from_dict)]
    assumed: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.preprocessing.crop != self.img_size:
            raise ValueError(
                f"crop {write_size(self.preprocessing.crop)}, but the model's input is"
                f" {write_size(self.img_size)} px"
            )
        if self.labels is not None and len(self.labels) != self.num_classes:
            raise ValueError(f"{len(self.labels)} labels were given for {self.num_classes} classes")

    @property
    def assumed_preprocessing(self) -> tuple[str, ...]:
        """Fields of preprocessing that nobody had stated when the file was exported."""
        return tuple(name for name in self.unsaid if name != "labels")


@dataclass(frozen=True)
class PassReport:
    """What one pass did.

    Attributes:
        rewrote: modules, by their names in the checkpoint.
        skipped: modules that were left as they are, each with the reason.
        max_abs_error: of the float64 logits, against the pass's input.
    """

    name: Name
    rewrote: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    max_abs_error: Error


@dataclass(frozen=True)
class Parity:
    """How far an artefact's logits are from the reference, over all inputs.

    Attributes:
        partitions: of the delegate; None for runtimes that have none.
        batch: inputs that were run together.
        max_abs: largest absolute difference.
        relative: the same over the range of the reference logits.
        snr_db: 10 log10 of the reference's power over that of the difference.
        worst_snr_db: the same for the one input where it is least.
        top1_agreement: share of inputs with the same first class.
    """

    runtime: Name
    version: str
    delegate: str
    partitions: int | None
    threads: Positive
    inputs: Positive
    batch: Positive
    max_abs: Error
    relative: Ratio
    snr_db: Ratio
    worst_snr_db: Ratio
    top1_agreement: Share

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; None for what is no finite number, nothing for no figure."""
        pairs = [(k, v) for k, v in asdict(self).items() if v is not NOT_TOLD]
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in pairs}

    @property
    def finite(self) -> bool:
        """Tell whether all logits were finite numbers."""
        return math.isfinite(self.max_abs)


@dataclass(frozen=True)
class Verification:
    """How a file was compared with the float64 network.

    Attributes:
        images: name of the folder of the real images; None for seeded noise.
        images_sha256: of the list of those that were read, each with its own.
        pictures: what the images had about them; None for noise.
        seed: of the noise.
        checks: number of inputs.
        fold_max_abs_error: of the folded network's float64 logits.
        floor_db: least signal-to-noise ratio that was taken; None where nothing was verified.
        runtimes: each run, those of the file's own runtime first.
        not_checked_on: runtimes on which it should have been and could not.
    """

    images: str | None = None
    images_sha256: Digest | None = None
    pictures: Details | None = None
    seed: Whole = 0
    checks: Annotated[int, Check(whole(1, MOST_CHECKS))] = 1
    fold_max_abs_error: Error = 0.0
    floor_db: float | None = None
    runtimes: tuple[Parity, ...] = ()
    not_checked_on: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known of an artefact.

    Before a file is complete, and of a file that was copied alone, only the fields without a
    default are known.

    Attributes:
        file: name of the artefact.
        sha256: of the artefact; empty before it is complete.
        bytes: size of the artefact.
        created: time in UTC, ISO 8601.
        tool: name and version of what exported it.
        torch: version of torch there.
        quantization: what was made smaller and how; None for fp32.
        profile: for which runtime the file is written; "onnx" where there was no choice.
        forms: each choice of form by its name.
        optimize: what the forms were chosen for, as `--optimize` takes it; None before there
            was a choice.
        approximations: what is not exact in real arithmetic, in words.
        input_layout: order of the input's dimensions.
        output: what the file gives.
        dynamic_batch: the first dimension of the input is free.
        folded: False for a network that was exported as it was trained.
        passes: what each did, in order.
        operators: how many there are of each type.
        macs: multiply-accumulates of one inference.
        planned: memory that follows from the graph.
        accuracy: verdict on labelled images; None where the export had none.
    """

    file: Name
    sha256: Digest = ""
    bytes: int = 0
    created: str = ""
    tool: str
    torch: str | None = None
    precision: Precision
    quantization: Details | None = None
    source: Source
    profile: Name
    forms: Details = field(default_factory=dict)
    optimize: str | None = None
    approximations: tuple[str, ...] = ()
    input_layout: Layout
    output: Answer = "logits"
    dynamic_batch: bool = False
    folded: bool
    passes: tuple[PassReport, ...] = ()
    operators: dict[str, int] = field(default_factory=dict)
    macs: int | None = None
    planned: Planned | None = None
    verification: Verification = Verification()
    accuracy: Details | None = None

    @property
    def proven(self) -> tuple[str, ...]:
        """Names of the runtimes on which the file was verified, its own first."""
        return tuple(dict.fromkeys(run.runtime for run in self.verification.runtimes))

    def to_document(self) -> dict[str, Any]:
        """Return what stands beside the artefact, ready for JSON."""
        values = asdict(self)
        values["source"]["preprocessing"] = self.source.preprocessing.to_dict()
        values["verification"]["runtimes"] = [run.to_dict() for run in self.verification.runtimes]
        document = {"schema": f"{SCHEMA_NAME}/{SCHEMA}"}
        for name, value in values.items():
            if name == "source":
                document["trained"] = value["trained"]  # for readers that look no deeper
            # What classifiers do not have stays out of their documents.
            if (name, value) not in (("accuracy", None), ("output", "logits")):
                document[name] = value
        return document

    @classmethod
    def from_document(cls, document: Any) -> Manifest:
        """Read what `to_document` wrote, now or in an older version, which had fewer fields.

        Raises:
            DocumentError: no manifest, of a newer schema, or a field is missing or wrong.
        """
        check_schema(document)
        document = fill_in(document)
        manifest = read_document(document, cls)
        if document.get("trained", manifest.source.trained) is not manifest.source.trained:
            raise DocumentError("trained: is not what source.trained says")
        return manifest

    def to_embedded(self) -> dict[str, str]:
        """Return what stands in the file itself: texts by name."""
        source = self.source
        return {
            "name": source.name,
            "variant": source.variant,
            "trained": json.dumps(source.trained),
            "checkpoint_sha256": source.checkpoint_sha256 or "",
            "preprocessing": json.dumps(source.preprocessing.to_dict()),
            "img_size": write_size(source.img_size),
            "num_classes": str(source.num_classes),
            "labels": json.dumps(source.labels),
            "input_layout": self.input_layout,
            "output": self.output,
            "profile": self.profile,
            "precision": self.precision,
            "passes": json.dumps([report.name for report in self.passes if report.rewrote]),
            "tool": self.tool,
        }

    @classmethod
    def from_embedded(cls, entries: dict[str, str], path: Path) -> Manifest | None:
        """Read what `to_embedded` wrote, now or in an older version; None for anything else.

        Args:
            entries: the texts by name.
            path: the artefact that they stand in.
        """
        file = {"file": path.name, "sha256": compute_sha256(path), "bytes": path.stat().st_size}
        try:
            return cls.from_document({**NOT_EMBEDDED, **file, **embedded_fields(entries)})
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return None


# What a file does not say of itself.
NOT_EMBEDDED: dict[str, Any] = {
    "schema": f"{SCHEMA_NAME}/{SCHEMA}",
    "created": "",
    "torch": None,
    "forms": {},
    "approximations": [],
    "dynamic_batch": False,
    "passes": [],
    "operators": {},
    "verification": asdict(Verification()),
}


@dataclass(frozen=True)
class Artefact:
    """A file and what is known of it, to be given wherever a path can: `open(artefact, "rb")`."""

    path: Path
    manifest: Manifest = field(repr=False)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def preprocessing(self) -> Preprocessing:
        """What a picture goes through before it is the input."""
        return self.manifest.source.preprocessing

    def read_as(self, reading: dict[str, Any]) -> Artefact:
        """Return the artefact with other ways of reading pictures: fields of `Preprocessing`."""
        source = replace(self.manifest.source, preprocessing=replace(self.preprocessing, **reading))
        return replace(self, manifest=replace(self.manifest, source=source))


def manifest_path(artefact: Path) -> Path:
    """Return the place of an artefact's manifest."""
    return artefact.with_name(artefact.name + ".json")


def read_manifest(path: Path) -> Manifest | None:
    """Read what is known of an artefact: from beside it, else from what the file itself says.

    Returns:
        None for a file that neither tells.

    Raises:
        UsageError: no such file.
        FcaEdgeError: a manifest that cannot be used, or is another file's.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such artefact; `fca-edge export` makes one.")
    beside = manifest_path(path)
    entries = read_embedded(path)
    own = Manifest.from_embedded(entries, path) if entries else None
    if not beside.is_file():
        return own
    if entries and own is None:
        raise FcaEdgeError(f"{path}: what it says of itself cannot be read; export it again.")
    try:
        manifest = Manifest.from_document(read_json(beside))
    except NewerSchemaError as error:
        raise FcaEdgeError(f"{beside}: {error}; read it with a newer fca_edge.") from None
    except DocumentError as error:
        raise FcaEdgeError(f"{beside}: {error}; export the artefact again.") from None
    if manifest.sha256 != (own.sha256 if own else compute_sha256(path)):
        raise FcaEdgeError(f"{path}: its checksum is not the manifest's; export it again.")
    if own is not None and (name := find_difference(manifest, own)):
        raise FcaEdgeError(f"{beside}: {name}: is not what the file says of itself; export again.")
    return manifest


def read_artefact(path: Path) -> Artefact:
    """Read an artefact whose manifest must be beside it.

    Raises:
        UsageError: no such file.
        FcaEdgeError: no manifest, or one that cannot be used or is another file's.
    """
    manifest = read_manifest(path)
    beside = manifest_path(path)
    if manifest is None or not beside.is_file():
        raise FcaEdgeError(
            f"{path}: there is no manifest {beside.name} beside it, which tells its"
            " preprocessing and labels; export it again, or copy the manifest along."
        )
    return Artefact(path, manifest)
