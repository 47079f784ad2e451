"""From a trained FcaFormer to verified ONNX and TFLite files, and honest measurements of them.

    import fca_edge

    files = fca_edge.export("best.pth", variant="l1", precision=("fp32", "int8"))
    runs = fca_edge.bench(files, target="local", threads=4)
    runs.table()

Importing it takes no time: what a function needs is imported when it is called, torch by those
that export or verify alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fca_edge.accuracy.assess import Evaluation as Evaluation
    from fca_edge.accuracy.layerwise import Sensitivity as Sensitivity
    from fca_edge.api.checks import evaluate as evaluate
    from fca_edge.api.checks import sensitivity as sensitivity
    from fca_edge.api.checks import verify as verify
    from fca_edge.api.files import bundle as bundle
    from fca_edge.api.files import export as export
    from fca_edge.api.files import load as load
    from fca_edge.api.measure import bench as bench
    from fca_edge.api.measure import check_bounds as check_bounds
    from fca_edge.api.measure import compare as compare
    from fca_edge.api.measure import compare_published as compare_published
    from fca_edge.api.measure import update_baseline as update_baseline
    from fca_edge.api.profile import profile as profile
    from fca_edge.api.reports import report as report
    from fca_edge.artefacts import Artefacts as Artefacts
    from fca_edge.artefacts import RefusedError as RefusedError
    from fca_edge.bundling.write import Bundle as Bundle
    from fca_edge.errors import FcaEdgeError as FcaEdgeError
    from fca_edge.errors import FcaEdgeWarning as FcaEdgeWarning
    from fca_edge.errors import IncomparableError as IncomparableError
    from fca_edge.errors import NotEquivalentError as NotEquivalentError
    from fca_edge.errors import RegressionError as RegressionError
    from fca_edge.errors import TargetUnavailableError as TargetUnavailableError
    from fca_edge.errors import UsageError as UsageError
    from fca_edge.manifest import Artefact as Artefact
    from fca_edge.manifest import Manifest as Manifest
    from fca_edge.model import Model as Model
    from fca_edge.parity import Checks as Checks
    from fca_edge.profiling.result import Profiled as Profiled
    from fca_edge.reporting.page import Report as Report
    from fca_edge.reporting.runs import Runs as Runs

    __version__: str

# Name -> module that defines it. No room has the name of a function, which it would hide once it
# is imported: hence `exporting/` and the like. The imports above, for type checkers, are the same.
_MODULES = {
    "Artefact": "manifest",
    "Artefacts": "artefacts",
    "Bundle": "bundling.write",
    "Evaluation": "accuracy.assess",
    "FcaEdgeError": "errors",
    "FcaEdgeWarning": "errors",
    "IncomparableError": "errors",
    "Manifest": "manifest",
    "Model": "model",
    "NotEquivalentError": "errors",
    "Profiled": "profiling.result",
    "RefusedError": "artefacts",
    "RegressionError": "errors",
    "Report": "reporting.page",
    "Runs": "reporting.runs",
    "Sensitivity": "accuracy.layerwise",
    "TargetUnavailableError": "errors",
    "UsageError": "errors",
    "Checks": "parity",
    "bench": "api.measure",
    "bundle": "api.files",
    "check_bounds": "api.measure",
    "compare": "api.measure",
    "compare_published": "api.measure",
    "evaluate": "api.checks",
    "export": "api.files",
    "load": "api.files",
    "profile": "api.profile",
    "report": "api.reports",
    "sensitivity": "api.checks",
    "update_baseline": "api.measure",
    "verify": "api.checks",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name == "__version__":
        return _version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Return the installed version; a folder that was not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fca-edge")
    except PackageNotFoundError:
        return "0.0.0"
