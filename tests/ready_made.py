"""Artefacts for tests where nothing can be exported: a bare install, without torch."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Folder with the digits as ONNX, TFLite modern and TFLite 2.14.
VARIABLE = "FCA_EDGE_TEST_ARTEFACTS"
NAMES = ("digits-fp32.onnx", "digits-fp32.tflite", "digits-fp32-tflite-2.14.tflite")


@dataclass(frozen=True)
class Exported:
    path: Path
    manifest: dict[str, Any]


@pytest.fixture(scope="session")
def exported() -> list[Exported]:
    """Stands for the fixture of networks.py."""
    paths = [Path(os.environ[VARIABLE]) / name for name in NAMES]
    manifests = [json.loads(Path(f"{path}.json").read_text()) for path in paths]
    return [Exported(*pair) for pair in zip(paths, manifests, strict=True)]
