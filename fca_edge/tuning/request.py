"""What `tune` is asked for, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fca_edge.errors import UsageError
from fca_edge.exporting.request import NetworkRequest, Request, check_request
from fca_edge.options import check_choices, check_number
from fca_edge.runtimes import RUNTIMES
from fca_edge.store import refuse_existing, staging
from fca_edge.tuning.candidates import Limits

OUT = Path("models/tune")
PRECISIONS = ("fp32", "fp16", "int8")
BUDGET_MINUTES = 10.0
DOCUMENTS = ("race.json", "confirmed.json", "answer.json")


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """What is to be tuned.

    Attributes:
        files: artefacts to choose among; none if `network` says what is exported.
        data: labelled images for `limits.max_drop`, of which `limit` are taken.
        budget_minutes: for race and confirmation.
        precisions, runtimes, max_threads: what candidates are limited to.
    """

    target: str = "local"
    files: tuple[Path, ...] = ()
    network: NetworkRequest | None = None
    limits: Limits = field(default_factory=Limits)
    data: Path | None = None
    limit: int | None = None
    budget_minutes: float = BUDGET_MINUTES
    precisions: tuple[str, ...] = PRECISIONS
    runtimes: tuple[str, ...] = ()
    max_threads: int | None = None
    out: Path = OUT
    force: bool = False


def check(request: TuneRequest) -> None:
    """Refuse what makes no sense before any work.

    Raises:
        UsageError: names the option.
    """
    limits = request.limits
    check_number("max-ms", limits.max_ms, least=0, whole=False)
    check_number("max-mib", limits.max_mib, least=0, whole=False)
    check_number("max-drop", limits.max_drop, least=0, whole=False)
    check_number("budget", request.budget_minutes, least=0, whole=False)
    check_number("max-threads", request.max_threads, least=1)
    check_choices("precision", request.precisions, PRECISIONS)
    if request.runtimes:
        check_choices("runtime", request.runtimes, RUNTIMES)
    if bool(request.files) == (request.network is not None):
        raise UsageError("give either ARTEFACTs, or --checkpoint or --variant to export some.")
    if limits.max_drop is not None and request.data is None:
        raise UsageError("--max-drop is judged on labelled images; add --data DIR.")
    if request.data is not None and limits.max_drop is None:
        raise UsageError("--data is for --max-drop; add that, or leave this out.")
    if request.data is not None and request.network and request.network.checkpoint is None:
        raise UsageError("--data needs a --checkpoint: random weights are right by chance only.")
    if request.network is not None:
        check_request(Request(network=request.network))
    refuse_existing([request.out / name for name in DOCUMENTS], request.force)
    with staging(request.out):
        pass
