"""Find the first layer at which two versions of a network part."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fca_edge.passes.base import run_hooked

TOLERANCE = 1e-9


def record_outputs(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Run images and return every module's output tensor by its path, in order of execution."""
    outputs: dict[str, Tensor] = {}
    hooks = []

    def watch(path: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: object, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                outputs[path] = first

        hooks.append(module.register_forward_hook(hook))

    for path, module in network.named_modules():
        watch(path, module)
    run_hooked(network, images, hooks)
    return outputs


def find_first_difference(reference: nn.Module, candidate: nn.Module, images: Tensor) -> str:
    """Return the path of the first block whose output differs, of those that both have.

    Inside a block a fold moves factors across layers on purpose, so only stages'
    blocks and what lies between them are compared.
    """
    expected = record_outputs(reference, images)
    outputs = record_outputs(candidate, images)
    for path, tensor in expected.items():
        if not is_comparable(path) or path not in outputs or outputs[path].shape != tensor.shape:
            continue
        worst = float((outputs[path] - tensor).abs().max())
        if not worst <= TOLERANCE * max(1.0, float(tensor.abs().max())):
            return f"{path or 'the logits'} (differs by {worst:.3g})"
    return "none that both versions share"


def is_comparable(path: str) -> bool:
    """Tell whether folds keep the output of the module at this path."""
    parts = path.split(".")
    inner = {"blocks", "stages", "downsample_layers", "downsample", "patch_embed", "seq"}
    return len(parts) <= 4 and all(
        part.isdigit() or part in inner or part.startswith("layer") for part in parts if part
    )
