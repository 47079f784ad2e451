"""Setting a runtime up never touches what it did not make."""

from pathlib import Path

import pytest

from fca_edge.errors import TargetUnavailableError
from fca_edge.harness.runtimes import (
    OLD_TFLITE_VARIABLE,
    RUNTIMES,
    available,
    imports,
    setup_old_tflite,
)


def test_a_users_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "usr" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.write_text("not one of ours")
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(python))
    with pytest.raises(TargetUnavailableError, match="did not make"):
        setup_old_tflite(lambda text: None)
    assert python.read_text() == "not one of ours"


def test_an_environment_without_the_module_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(python))
    assert not available(RUNTIMES["tflite-2.14"])
    python.chmod(0o755)
    imports.cache_clear()
    assert not available(RUNTIMES["tflite-2.14"])
