"""Make tests/golden/dialects/networks.json.gz anew: other libraries' own networks, in their own
environments.

    python tests/dialects/run.py [LIBRARY=VERSION ...]

Takes about 6 GB of disk: torchvision's wheel wants a torch with CUDA's libraries. Versions
that are not asked for stay in the file as they are.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "bench" / "peers"))

from environment import Environment, ensure  # noqa: E402

from fca_edge.targets.call import agent_environment  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "dialects" / "networks.json.gz"
NUMPY = "numpy==2.4.6"

# transformers imports beside torch's CPU build; torchvision, which timm needs, does not.
CPU_TORCH = Environment("torch", ("torch==2.13.0", NUMPY))
VISION = Environment("torchvision", ("torch==2.14.1", "torchvision==0.29.1", NUMPY))

# One entry per generation of names: timm moved Swin's merging in 0.9, and transformers
# renamed the layers of Swin and ViT in its fifth version.
ENVIRONMENTS: dict[str, Environment] = {
    "timm=1.0.31": Environment("timm-1.0.31", ("timm==1.0.31",), VISION),
    "timm=0.9.16": Environment("timm-0.9.16", ("timm==0.9.16",), VISION),
    "timm=0.6.13": Environment("timm-0.6.13", ("timm==0.6.13",), VISION),
    "torchvision=0.29.1": VISION,
    "transformers=5.24.0": Environment("transformers-5", ("transformers==5.24.0",), CPU_TORCH),
    "transformers=4.57.6": Environment("transformers-4", ("transformers==4.57.6",), CPU_TORCH),
}


def main(names: list[str]) -> None:
    """Run the libraries that are asked for, or all of them."""
    if unknown := [name for name in names if name not in ENVIRONMENTS]:
        sys.exit(f"{unknown[0]}: no such library; known: {', '.join(ENVIRONMENTS)}.")
    results: dict[str, Any] = read_golden() if GOLDEN.is_file() else {}
    for name in names or ENVIRONMENTS:
        results[name] = run_library(name.split("=")[0], ENVIRONMENTS[name])
        write_golden(results)


def run_library(library: str, environment: Environment) -> dict[str, Any]:
    """Run `make.py` in an environment; returns what it wrote."""
    ensure(environment)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "networks.json"
        command = [str(environment.python), "make.py", library, str(out)]
        subprocess.run(command, check=True, cwd=HERE, env=agent_environment())
        content: dict[str, Any] = json.loads(out.read_text())
    return content


def read_golden() -> dict[str, Any]:
    """Read the committed file."""
    content: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    return content


def write_golden(results: dict[str, Any]) -> None:
    """Write the file so that equal contents give equal bytes."""
    text = json.dumps(dict(sorted(results.items())), separators=(",", ":"))
    GOLDEN.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1:])
