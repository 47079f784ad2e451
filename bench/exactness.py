"""All networks against their golden logits, and folded against original, in float64.

python bench/exactness.py
"""

import sys
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import golden_data

from fca_edge.commands.shared import table
from fca_edge.passes.run import DEFAULT_PASSES, fold, logits
from fca_edge.passes.split_depthwise import SplitDepthwise
from fca_edge.zoo.build import cost
from fca_edge.zoo.specs import ZOO

BOUND = 1e-9


def main() -> None:
    made = table(
        "network", "params M", "GMACs", "golden soft", "golden hard", "folded, hard", "sites"
    )
    worst = 0.0
    for variant in ZOO:
        found = cost(variant)
        errors = [golden_error(variant, seed) for seed in (golden_data.SOFT, golden_data.HARD)]
        network = golden_data.network(variant, golden_data.HARD)
        image = golden_data.image(variant, golden_data.HARD)
        before = logits(network, image)
        passes = (*DEFAULT_PASSES, SplitDepthwise("dilated", "rows"))
        folded, reports = fold(network, image, passes)
        errors.append(float((logits(folded, image) - before).abs().max()))
        sites = sum(len(report.rewrote) for report in reports)
        counts = (f"{found.params / 1e6:.3f}", f"{found.macs / 1e9:.3f}")
        made.add_row(ZOO[variant].name, *counts, *(f"{e:.1e}" for e in errors), str(sites))
        worst = max(worst, *errors)
    Console(width=110).print(made)
    print(f"largest difference {worst:.1e}, bound {BOUND:g}")
    if not worst <= BOUND:
        sys.exit("not exact")


def golden_error(variant: str, seed: int) -> float:
    network = golden_data.network(variant, seed)
    got = logits(network, golden_data.image(variant, seed))[0].numpy()
    return float(abs(got - golden_data.logits_of(variant, seed)).max())


if __name__ == "__main__":
    main()
