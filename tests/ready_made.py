"""Artefacts for tests where nothing can be exported: a bare install, without torch."""

import os
from pathlib import Path

import pytest

from fca_edge.manifest import Artefact, read_artefact

# Folder with the digits as ONNX, TFLite modern and TFLite 2.14.
VARIABLE = "FCA_EDGE_TEST_ARTEFACTS"
NAMES = ("digits-fp32.onnx", "digits-fp32.tflite", "digits-fp32-tflite-2.14.tflite")


@pytest.fixture(scope="session")
def exported() -> list[Artefact]:
    """Stands for the fixture of networks.py."""
    paths = [Path(os.environ[VARIABLE]) / name for name in NAMES]
    return [read_artefact(path) for path in paths]
