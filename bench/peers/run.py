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
import itertools
import os
import random
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from entries import Entry, compute_reference, judge, lean_twin, our_entry, our_files, peer_entry
from environment import OUT, PeerError, say
from places import Here, count_all
from registry import BY_NAME, PEERS
from tables import markdown

from fca_edge.errors import FcaEdgeError
from fca_edge.measure.record import read_git_commit
from fca_edge.measure.session import count_processes, run_jobs
from fca_edge.parsing import read_json
from fca_edge.records import Plan, Record, to_document
from fca_edge.store import write_json, write_text

ROOT = Path(__file__).resolve().parents[2]
WARMUPS, ITERATIONS = 3, 12


def main() -> None:
    arguments = parse()
    if arguments.clean:
        shutil.rmtree(OUT, ignore_errors=True)
    elif arguments.table:
        print(markdown(read_json(arguments.table)))
    else:
        out = (
            arguments.onto
            or arguments.out
            or ROOT / f"bench/results/peers-{arguments.variant}.json"
        )
        document = add_counts(arguments) if arguments.onto else measure(arguments)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, document)
        # Marked, so that `make tables` finds it.
        mark = f"<!-- table: {os.path.relpath(out, ROOT)} whole -->"
        page = f"{mark}\n\n{markdown(document)}\n<!-- end of table -->\n"
        write_text(out.with_suffix(".md"), page, force=True)
        print(markdown(document))


def parse() -> argparse.Namespace:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    add = parser.add_argument
    add("--variant", default="l1", help="network of the zoo (default l1)")
    add("--threads", type=int, default=1)
    add("--rounds", type=int, default=9, help="processes per file, interleaved (default 9)")
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
    names = {"all": list(BY_NAME), "none": []}.get(arguments.peers, arguments.peers.split(","))
    if unknown := [name for name in names if name not in BY_NAME]:
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    arguments.chosen = [peer for peer in PEERS if peer.name in names]
    return arguments


def make_files(arguments: argparse.Namespace, variant: str, folder: Path) -> list[Entry]:
    """Export or convert every file; ours first."""
    reuse = arguments.reuse or bool(arguments.onto)
    return [
        *our_files(variant, folder, reuse),
        *map(our_entry, arguments.ours),
        *(peer_entry(peer, variant, folder, reuse) for peer in arguments.chosen),
    ]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make, judge, time and count every row; returns the document."""
    folder = OUT / arguments.variant
    folder.mkdir(parents=True, exist_ok=True)
    say("logits in float64")
    right = compute_reference(arguments.variant, folder)
    entries = make_files(arguments, arguments.variant, folder)
    entries += [twin for entry in entries if (twin := lean_twin(entry))]
    here = Here({p.runtime.name: p.runner.python for p in arguments.chosen if p.runner})
    for entry in entries:
        say(f"{entry.row.name}: {entry.row.error or 'comparing logits'}")
        judge(entry, here, right, arguments.threads, folder)
    plan = Plan(arguments.threads, 1, WARMUPS, ITERATIONS, arguments.rounds)
    records = time_all(entries, plan, here)
    if arguments.arm:
        count_all(entries, arguments.arm, right, folder)
    peers = {
        "variant": arguments.variant,
        "arm": arguments.arm,
        "git_commit": read_git_commit(),
        # Whether the processor multiplies bytes decides what int8 can gain.
        "vnni": "vnni" in Path("/proc/cpuinfo").read_text(),
        "rows": [asdict(entry.row) for entry in entries],
    }
    return {**to_document(records), "peers": peers}


def add_counts(arguments: argparse.Namespace) -> dict[str, Any]:
    """Count the files that an earlier run made, and put the counts into its document.

    Raises:
        FcaEdgeError: no such document.
    """
    document = read_json(arguments.onto)
    peers = document["peers"]
    folder = OUT / peers["variant"]
    right = compute_reference(peers["variant"], folder)
    entries = make_files(arguments, peers["variant"], folder)
    digests = {record["artefact"]["sha256"] for record in document["records"]}
    for entry in entries:
        if entry.job is not None and entry.job.artefact.sha256 not in digests:
            entry.row.fail("arm", PeerError("not the file that was timed"))
    count_all(entries, arguments.arm, right, folder)
    counts = {entry.row.name: entry.row.arm for entry in entries if entry.row.arm}
    rows = [row | {"arm": counts.get(row["name"], row["arm"])} for row in peers["rows"]]
    return {**document, "peers": {**peers, "arm": arguments.arm, "rows": rows}}


def time_all(entries: list[Entry], plan: Plan, here: Here) -> list[Record]:
    """Time what is right, interleaved; what fails now is noted in its row."""
    timed = [(entry.row, entry.job) for entry in entries if entry.job and not entry.row.error]
    jobs = [job for _, job in timed]
    total, number = count_processes(jobs, plan, here), itertools.count(1)
    seed = random.SystemRandom().randrange(1 << 30)
    outcome = run_jobs(jobs, plan, here, lambda text: say(f"{next(number)}/{total} {text}"), seed)
    for job, error in outcome.failures:
        next(row for row, one in timed if one is job).fail("run", error)
    times = {}
    for row, job in timed:
        events = here.processor.get((here.push(job.path), job.settings is not None), [])
        times[job.artefact.file] = tuple(tuple(event.pop("cpu_ns")) for event in events)
        row.file, row.processor = job.artefact.file, events
    return [replace(r, processor_ns=times[r.artefact.file]) for r in outcome.records]


if __name__ == "__main__":
    try:
        main()
    except FcaEdgeError as error:
        sys.exit(f"error: {error}")
