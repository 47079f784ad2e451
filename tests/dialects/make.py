"""Key lists and float64 logits of other libraries' own networks; runs where they are installed.

    python make.py LIBRARY OUT.json

Stand-alone: it imports the library, torch and NumPy, and nothing of ours. `run.py` makes
an environment for each library and joins what this writes.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from fill import draw_image, draw_weights

SEED, CLASSES, SIDE = 7, 10, {"convnext": 64, "swin": 224, "deit": 64}
DEIT = {"hidden": 192, "depth": 12, "heads": 3, "mlp": 768}
SIZES = ("tiny", "small", "base", "large")
DIMS = {"tiny": 96, "small": 96, "base": 128, "large": 192}
DEEP = {"tiny": 9, "small": 27, "base": 27, "large": 27}
SWIN_DEEP = {"tiny": 6, "small": 18, "base": 18}
SWIN_HEADS = {"tiny": 3, "small": 3, "base": 4}
# LayerNorm's epsilon in the official networks, where Hugging Face's is 1e-12.
OFFICIAL_EPS = {"convnext": 1e-6, "deit": 1e-6}

Maker = Callable[[], Any]


def newest(version: str) -> bool:
    """Tell whether this is the version of which all sizes and look-alikes are written."""
    return not version.startswith(("0.6.", "0.9.", "4."))


def timm_networks(version: str) -> Iterator[tuple[str, Maker]]:
    """ConvNeXt and Swin of all sizes and DeiT-T; of older versions the smallest."""
    import timm

    def make(name: str, **more: Any) -> Maker:
        return lambda: timm.create_model(name, num_classes=CLASSES, **more)

    sizes = SIZES if newest(version) else SIZES[:1]
    for size in sizes:
        yield f"convnext_{size}", make(f"convnext_{size}")
        if size in SWIN_DEEP:
            yield f"swin_{size}", make(f"swin_{size}_patch4_window7_224")
    yield "convnext_tiny conv_mlp", make("convnext_tiny", conv_mlp=True)
    yield "deit_tiny", make("deit_tiny_patch16_224", img_size=SIDE["deit"])


def timm_lookalikes() -> Iterator[tuple[str, Maker]]:
    """Networks whose names are nearly those of the zoo's, and which are not of the zoo."""
    import timm

    for name, more in (
        ("deit_tiny_distilled_patch16_224", {}),
        ("deit3_small_patch16_224", {}),
        ("convnextv2_tiny", {}),
        ("swinv2_tiny_window8_256", {}),
        ("convnext_tiny", {"head_norm_first": True}),
        ("convnext_tiny", {"head_hidden_size": 32}),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}),
        ("vit_tiny_patch16_224", {"reg_tokens": 4, "no_embed_class": True}),
        ("vit_tiny_patch16_224", {"qk_norm": True}),
    ):
        label = " ".join([name, *more])
        yield label, lambda name=name, more=more: timm.create_model(name, **more)


def torchvision_networks(version: str) -> Iterator[tuple[str, Maker]]:
    """All sizes of ConvNeXt and Swin, and a VisionTransformer of DeiT-T's."""
    from torchvision import models

    for size in SIZES:
        make = getattr(models, f"convnext_{size}")
        yield f"convnext_{size}", lambda make=make: make(num_classes=CLASSES)
        if size in SWIN_DEEP:
            make = getattr(models, f"swin_{size[0]}")
            yield f"swin_{size}", lambda make=make: make(num_classes=CLASSES)
    sizes = (DEIT["depth"], DEIT["heads"], DEIT["hidden"], DEIT["mlp"])
    yield (
        "deit_tiny",
        lambda: models.VisionTransformer(SIDE["deit"], 16, *sizes, num_classes=CLASSES),
    )


def torchvision_lookalikes() -> Iterator[tuple[str, Maker]]:
    """Swin V2, whose attention is another."""
    from torchvision import models

    yield "swin_v2_t", models.swin_v2_t


def transformers_networks(version: str) -> Iterator[tuple[str, Maker]]:
    """ConvNeXt, Swin and the plain ViT, with the library's epsilon and with the official one."""
    import transformers as hf

    def classifier(kind: str, **more: Any) -> Maker:
        config, network = (
            getattr(hf, f"{kind}{end}") for end in ("Config", "ForImageClassification")
        )
        return lambda: network(config(num_labels=CLASSES, **more))

    sizes = SIZES if newest(version) else SIZES[:1]
    for size in sizes:
        depths = [3, 3, DEEP[size], 3]
        dims = [DIMS[size] * 2**i for i in range(4)]
        shape = {"depths": depths, "hidden_sizes": dims}
        yield f"convnext_{size}", classifier("ConvNext", **shape)
        own = {"layer_norm_eps": OFFICIAL_EPS["convnext"]}
        if size == "tiny":
            yield f"convnext_{size} eps", classifier("ConvNext", **shape, **own)
        if size in SWIN_DEEP:
            heads = [SWIN_HEADS[size] * 2**i for i in range(4)]
            shape = {
                "embed_dim": DIMS[size],
                "depths": [2, 2, SWIN_DEEP[size], 2],
                "num_heads": heads,
            }
            yield f"swin_{size}", classifier("Swin", **shape)
    shape = {
        "hidden_size": DEIT["hidden"],
        "num_hidden_layers": DEIT["depth"],
        "num_attention_heads": DEIT["heads"],
        "intermediate_size": DEIT["mlp"],
        "image_size": SIDE["deit"],
    }
    yield "deit_tiny", classifier("ViT", **shape)
    yield "deit_tiny eps", classifier("ViT", **shape, layer_norm_eps=OFFICIAL_EPS["deit"])


def transformers_lookalikes() -> Iterator[tuple[str, Maker]]:
    """The distilled DeiT, the second versions, and a Swin with absolute positions."""
    import transformers as hf

    small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
    for kind, end, more in (
        ("DeiT", "ForImageClassification", small),
        ("DeiT", "ForImageClassificationWithTeacher", small),
        ("ConvNextV2", "ForImageClassification", {}),
        ("Swinv2", "ForImageClassification", {}),
        ("Swin", "ForImageClassification", {"use_absolute_embeddings": True}),
    ):
        network, config = getattr(hf, kind + end), getattr(hf, f"{kind}Config")
        label = " ".join([kind + end, *(k for k in more if k.startswith("use"))])
        yield label, lambda network=network, config=config, more=more: network(config(**more))


def shapes_of(network: torch.nn.Module) -> dict[str, list[int]]:
    """Return names and shapes in the order of the state dict."""
    return {key: list(tensor.shape) for key, tensor in network.state_dict().items()}


def describe_network(label: str, make: Maker) -> dict[str, Any]:
    """Return names and shapes, and the logits of the smallest size: the others have more blocks."""
    if "tiny" in label:
        return run_network(label, make)
    with torch.device("meta"):
        return {"shapes": shapes_of(make())}


def run_network(label: str, make: Maker) -> dict[str, Any]:
    """Fill a network from the stream and run it in float64."""
    network = make().double().eval()
    shapes, state = shapes_of(network), network.state_dict()
    for key, array in draw_weights(shapes, SEED):
        state[key].copy_(torch.from_numpy(array))
    side = SIDE[label.split("_")[0]]
    with torch.no_grad():
        output = network(torch.from_numpy(draw_image(SEED, side)))
    logits = getattr(output, "logits", output)[0]
    print(f"{label}: {len(shapes)} keys, logits {logits.min():.3f} to {logits.max():.3f}")
    return {"shapes": shapes, "logits": [float(x) for x in logits], "side": side, "seed": SEED}


def main(library: str, out: Path) -> None:
    """Write every network of one library."""
    warnings.simplefilter("ignore")
    version = __import__(library).__version__.split("+")[0]
    networks = globals()[f"{library}_networks"](version)
    results = {label: describe_network(label, make) for label, make in networks}
    alike = globals()[f"{library}_lookalikes"]()
    with torch.device("meta"):
        lookalikes = {label: shapes_of(make()) for label, make in alike} if newest(version) else {}
    content = {"library": library, "version": version, "torch": torch.__version__}
    out.write_text(json.dumps({**content, "networks": results, "lookalikes": lookalikes}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
