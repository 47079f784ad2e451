"""Ours beside other ways to run FcaFormer: same weights, input, threads, one interleaved run.

    python bench/peers/run.py --variant l1 --threads 1 --rounds 9 --out bench/results/peers-l1.json
    python bench/peers/run.py --peers openvino,mnn --ours models/out/fcaformer_l1-int8.tflite
    python bench/peers/run.py --variant l1 --arm qemu:aarch64:a72 --reuse
    python bench/peers/run.py --arm qemu:aarch64:a72 --onto bench/results/peers-l1.json
    python bench/peers/run.py --table bench/results/peers-l1.json
    python bench/peers/run.py --clean

Each peer gets environments of its own under bench/out/peers, which --clean removes. A peer that
cannot be installed, converted or run, or whose logits are wrong, is a row with its reason. Raw
samples go to the JSON file; the table beside it (.md) is derived from that file alone.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from arm import count_all
from entries import Entry, judge, lean_twin, our_entry, our_files, peer_entry, reference
from environment import OUT, PeerError
from places import Here, emulated
from registry import BY_NAME, PEERS
from tables import markdown

from fca_edge.errors import FcaEdgeError
from fca_edge.measure.record import read_git_commit
from fca_edge.measure.session import count_processes, run_jobs
from fca_edge.parsing import read_json
from fca_edge.records import Plan, Record, to_document
from fca_edge.store import write_json, write_text

RESULTS = Path(__file__).parents[1] / "results"
WARMUPS, ITERATIONS = 3, 12
# Whether the processor multiplies bytes decides what int8 can gain.
CPU_FACTS = Path("/proc/cpuinfo")


def main() -> None:
    arguments = parse()
    if arguments.clean:
        shutil.rmtree(OUT, ignore_errors=True)
        return
    if arguments.table:
        print(markdown(read_json(arguments.table)))
        return
    if arguments.onto:
        out, document = arguments.onto, with_counts(arguments)
    else:
        out = arguments.out or RESULTS / f"peers-{arguments.variant}.json"
        document = measured(arguments)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, document)
    write_text(out.with_suffix(".md"), markdown(document), force=True)
    print(markdown(document))


def parse() -> argparse.Namespace:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    add = parser.add_argument
    add("--variant", default="l1", help="network of the zoo (default l1)")
    add("--threads", type=int, default=1)
    add("--rounds", type=int, default=9, help="processes a file, interleaved (default 9)")
    add("--peers", default="all", help=f"all, none, or of {','.join(BY_NAME)}")
    add("--ours", type=Path, nargs="+", default=[], help="more files of ours, of the same weights")
    add("--arm", help="also count instructions there, such as qemu:aarch64:a72")
    add("--onto", type=Path, help="add --arm's counts to the rows of this JSON, time nothing")
    add("--reuse", action="store_true", help="keep files that an earlier run converted")
    add("--out", type=Path, help="JSON to write, the table beside it as .md")
    add("--table", type=Path, help="only print the table of a JSON file")
    add("--clean", action="store_true", help="remove environments and files, then stop")
    arguments = parser.parse_args()
    if arguments.onto and not arguments.arm:
        parser.error("--onto adds what --arm counts; name a machine with --arm")
    named = {"all": list(BY_NAME), "none": []}.get(arguments.peers, arguments.peers.split(","))
    unknown = [name for name in named if name not in BY_NAME]
    if unknown:
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    arguments.chosen = [peer for peer in PEERS if peer.name in named]
    return arguments


def say(text: str) -> None:
    """Tell the progress."""
    print(text, file=sys.stderr, flush=True)


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make, judge, time and count every row; returns the document."""
    folder = OUT / arguments.variant
    folder.mkdir(parents=True, exist_ok=True)
    say("logits in float64")
    right = reference(arguments.variant, folder)
    entries = our_files(arguments.variant, folder, arguments.reuse, say)
    entries += [our_entry(path) for path in arguments.ours]
    entries += [twin for entry in entries if (twin := lean_twin(entry, folder)) is not None]
    for peer in arguments.chosen:
        entries.append(peer_entry(peer, arguments.variant, folder, arguments.reuse, say))
    here = Here({p.runtime: p.runner.python for p in arguments.chosen if p.runner})
    for entry in entries:
        say(f"{entry.row.name}: {entry.row.error or 'comparing logits'}")
        judge(entry, here, right, arguments.threads, folder)
    plan = Plan(arguments.threads, 1, WARMUPS, ITERATIONS, arguments.rounds)
    records = timed(entries, plan, here)
    if arguments.arm:
        count_all(entries, emulated(arguments.arm), right, folder, say)
    peers = {
        "variant": arguments.variant,
        "arm": arguments.arm,
        "git_commit": read_git_commit(),
        "vnni": "vnni" in CPU_FACTS.read_text() if CPU_FACTS.is_file() else False,
        "rows": [asdict(entry.row) for entry in entries],
    }
    return {**to_document(records), "peers": peers}


def with_counts(arguments: argparse.Namespace) -> dict[str, Any]:
    """Count the files that an earlier run made, and put the counts into its document.

    Raises:
        FcaEdgeError: no such document, or a file is not the one that was timed.
    """
    document = read_json(arguments.onto)
    peers = document["peers"]
    folder = OUT / peers["variant"]
    right = reference(peers["variant"], folder)
    entries = our_files(peers["variant"], folder, True, say)
    entries += [our_entry(path) for path in arguments.ours]
    entries += [peer_entry(peer, peers["variant"], folder, True, say) for peer in arguments.chosen]
    digests = {r["artefact"]["sha256"] for r in document["records"]}
    for entry in entries:
        if entry.job is not None and entry.job.artefact.sha256 not in digests:
            entry.row.fail("arm", PeerError("not the file that was timed"))
    count_all(entries, emulated(arguments.arm), right, folder, say)
    counts = {entry.row.name: entry.row.arm for entry in entries if entry.row.arm}
    rows = [row | {"arm": counts.get(row["name"], row["arm"])} for row in peers["rows"]]
    return {**document, "peers": {**peers, "arm": arguments.arm, "rows": rows}}


def timed(entries: list[Entry], plan: Plan, here: Here) -> list[Record]:
    """Time what is right, interleaved; what fails now is noted in its row."""
    right = [e for e in entries if e.job is not None and e.row.error is None]
    jobs = [e.job for e in right if e.job is not None]
    total, done = count_processes(jobs, plan, here), 0

    def step(text: str) -> None:
        nonlocal done
        done += 1
        say(f"{done}/{total} {text}")

    seed = random.SystemRandom().randrange(1 << 30)
    outcome = run_jobs(jobs, plan, here, step, seed)
    for job, error in outcome.failures:
        next(e for e in right if e.job is job).row.fail("run", error)
    spent = {}
    for entry in right:
        assert entry.job is not None
        events = here.processor.get(here.push(entry.job.path), [])
        entry.row.file = entry.job.artefact.file
        spent[entry.row.file] = tuple(tuple(event.pop("cpu_ns")) for event in events)
        entry.row.processor = events
    return [replace(r, processor_ns=spent[r.artefact.file]) for r in outcome.records]


if __name__ == "__main__":
    try:
        main()
    except FcaEdgeError as error:
        sys.exit(f"error: {error}")
