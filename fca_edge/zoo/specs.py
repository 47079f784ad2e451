"""What defines each network of the zoo. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from fca_edge.errors import UsageError, nearest
from fca_edge.zoo.published import Published, published


@dataclass(frozen=True)
class Spec:
    """Fields that every network has; `name` is the prefix of artefact files."""

    name: str
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    img_size: int = 224
    num_classes: int = 1000

    @property
    def published(self) -> Published | None:
        """What was published of it."""
        return published().get(self.name)


@dataclass(frozen=True)
class FcaFormerSpec(Spec):
    """Hybrid FcaFormer; `heads` are those of stages 2 and 3."""

    heads: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class ConvNeXtSpec(Spec):
    """ConvNeXt."""


@dataclass(frozen=True)
class SwinSpec(Spec):
    """Swin; widths double from stage to stage."""

    heads: tuple[int, ...] = ()
    window: int = 7

    @property
    def dim(self) -> int:
        """Width of stage 0."""
        return self.dims[0]


@dataclass(frozen=True)
class DeiTSpec(Spec):
    """DeiT without distillation: one width, one depth; `patch` is the side of a token in pixels."""

    heads: int = 0
    patch: int = 16


@dataclass(frozen=True)
class DenseSpec(Spec):
    """A trunk of the zoo under a head that answers per pixel or per object.

    Attributes:
        trunk: name of the network whose blocks it has.
        head: what stands on the trunk.
        width: channels of the head.
        outputs: channels of FcaFormer's maps (`seg_head_dims`); None for other trunks.
        hidden: width of a box head's fully connected layers; 0 without one.
    """

    trunk: str = ""
    head: str = "upernet"
    width: int = 0
    outputs: tuple[int, ...] | None = None
    hidden: int = 0


AnySpec = FcaFormerSpec | ConvNeXtSpec | SwinSpec | DeiTSpec | DenseSpec


def _fca(
    name: str,
    dims: tuple[int, ...],
    depths: tuple[int, ...],
    heads: tuple[int, int],
    img_size: int = 224,
    num_classes: int = 1000,
) -> FcaFormerSpec:
    return FcaFormerSpec(f"fcaformer_{name}", dims, depths, img_size, num_classes, heads)


def _swin(name: str, dim: int, depth: int, heads: tuple[int, ...]) -> SwinSpec:
    dims = tuple(dim * 2**i for i in range(4))
    return SwinSpec(f"swin_{name}", dims, (2, 2, depth, 2), heads=heads)


_L3_DEPTHS, _DEEP = (3, 6, 12, 3), (3, 3, 27, 3)

# One visible place: what the command line calls it, and what it is.
ZOO: dict[str, AnySpec] = {
    "l1": _fca("l1", (64, 128, 192, 320), (2, 2, 6, 2), (6, 10)),
    "l2": _fca("l2", (96, 192, 320, 480), (2, 2, 7, 2), (10, 15)),
    "l3": _fca("l3", (96, 192, 320, 512), _L3_DEPTHS, (10, 16)),
    "l4": _fca("l4", (128, 256, 512, 768), _L3_DEPTHS, (16, 24)),
    "micro": _fca("micro", (16, 24, 32, 48), (1, 2, 4, 3), (2, 3), img_size=96, num_classes=7),
    "convnext_tiny": ConvNeXtSpec("convnext_tiny", (96, 192, 384, 768), (3, 3, 9, 3)),
    "convnext_small": ConvNeXtSpec("convnext_small", (96, 192, 384, 768), _DEEP),
    "convnext_base": ConvNeXtSpec("convnext_base", (128, 256, 512, 1024), _DEEP),
    "convnext_large": ConvNeXtSpec("convnext_large", (192, 384, 768, 1536), _DEEP),
    "swin_tiny": _swin("tiny", 96, 6, (3, 6, 12, 24)),
    "swin_small": _swin("small", 96, 18, (3, 6, 12, 24)),
    "swin_base": _swin("base", 128, 18, (4, 8, 16, 32)),
    "deit_tiny": DeiTSpec("deit_tiny", (192,), (12,), heads=3),
}

# Head -> the side of its square input, its classes, its width and that of its hidden layers;
# first as published, then of the micro networks that tests use.
_HEADS = {
    "upernet": ((512, 150, 512, 0), (96, 7, 32, 0)),
    "mask_rcnn": ((800, 80, 256, 1024), (96, 3, 16, 64)),
    "cascade": ((800, 80, 256, 1024), (96, 3, 16, 64)),
}
# What follows a head's name -> trunk, and the channels of its maps where they are not its stages'
# own. FcaFormer's trunk was released with a 1x1 convolution per map, and published without.
_TRUNKS: dict[str, tuple[str, tuple[int, ...] | None]] = {
    "l2": ("l2", (96, 192, 384, 768)),
    "l2_headless": ("l2", None),
    "swin_tiny": ("swin_tiny", None),
    "convnext_tiny": ("convnext_tiny", None),
    "micro": ("micro", (16, 24, 40, 64)),
    "micro_headless": ("micro", None),
}


def _dense(head: str, end: str) -> DenseSpec:
    trunk, outputs = _TRUNKS[end]
    under = ZOO[trunk]
    size, classes, width, hidden = _HEADS[head][trunk == "micro"]
    name = f"{head}_{end}"
    return DenseSpec(
        name, under.dims, under.depths, size, classes, trunk, head, width, outputs, hidden
    )


# Networks that answer per pixel or per object.
DENSE: dict[str, AnySpec] = {
    f"{head}_{end}": _dense(head, end) for head in _HEADS for end in _TRUNKS
}
NETWORKS: dict[str, AnySpec] = {**ZOO, **DENSE}


def find_spec(variant: str) -> AnySpec:
    """Look a variant up, by its short name or its full one (`fcaformer_l1`).

    Raises:
        UsageError: no such variant; names the nearest.
    """
    return NETWORKS[short_name(variant)]


def short_name(variant: str) -> str:
    """Return the name under which the zoo has a variant.

    Raises:
        UsageError: no such variant; names the nearest.
    """
    by_full_name = {spec.name: short for short, spec in NETWORKS.items()}
    short = by_full_name.get(variant, variant)
    if short not in NETWORKS:
        raise UsageError(
            f"unknown variant '{variant}'.{nearest(variant, NETWORKS)}"
            " `fca-edge models` lists them all."
        )
    return short


def find_task(variant: str) -> str:
    """Return what a network does: "classify", "segment" (a class per pixel) or "detect"."""
    spec = NETWORKS.get(variant)
    if not isinstance(spec, DenseSpec):
        return "classify"
    return "segment" if spec.head == "upernet" else "detect"


def is_detector(variant: str) -> bool:
    """Tell whether a network answers with boxes and masks."""
    spec = NETWORKS.get(variant)
    return isinstance(spec, DenseSpec) and spec.head in ("mask_rcnn", "cascade")


def list_parts(variant: str) -> tuple[str, ...]:
    """Name the parts of a detector between which boxes are chosen; none of other networks."""
    spec = find_spec(variant)
    if not isinstance(spec, DenseSpec) or spec.head == "upernet":
        return ()
    boxes = ("box",) if spec.head == "mask_rcnn" else ("box0", "box1", "box2")
    return ("features", *boxes, "mask")


def require_classifier(variant: str, name: str, command: str) -> None:
    """Refuse what only classifiers can do of a network that answers per pixel or per object.

    Args:
        name: of the file or option that the user gave.

    Raises:
        UsageError: a dense network.
    """
    if isinstance(NETWORKS.get(variant), DenseSpec):
        raise UsageError(
            f"{name}: {variant} answers per pixel or per object, and {command} is for classifiers;"
            " `fca-edge verify` and `fca-edge bench` take it."
        )
