"""The sections of a report, in the order in which they are read."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fca_edge.comparing.comparison import Comparison
from fca_edge.comparing.pairs import name_weights
from fca_edge.comparing.published import Group, group_beside_published
from fca_edge.comparing.remedy import write_options
from fca_edge.comparing.table import comparison_document, published_document
from fca_edge.errors import IncomparableError, plural
from fca_edge.profiling.result import Profiled
from fca_edge.records import Record
from fca_edge.reporting.bench_table import hot_sheet
from fca_edge.reporting.counted import draw_hot, draw_instructions
from fca_edge.reporting.layers import draw_layers
from fca_edge.reporting.moved import draw_changes, draw_published
from fca_edge.reporting.parts import Block, Fold, Heading, Lines, Picture, Section
from fca_edge.reporting.pictures import choose_accuracy, draw_memory, draw_samples, draw_tradeoff
from fca_edge.reporting.pipeline_table import pipeline_lines, pipeline_sheets
from fca_edge.reporting.rows import Change, Place, find_front
from fca_edge.reporting.runs import FIRST, NETWORK, Runs
from fca_edge.reporting.sustained_table import sustained_sheets
from fca_edge.runtimes import RUNTIMES
from fca_edge.tables.document import Document, Line, Shell
from fca_edge.tables.sheet import Column, Sheet, style_text

MOST_HOT = 8
# What moved most comes first; a page of more is read by nobody.
MOST_CHANGES = 30


def list_sections(
    places: Sequence[Place],
    records: Sequence[Record],
    comparison: Comparison | None,
    changes: Sequence[Change],
    profiles: Sequence[Profiled] = (),
) -> list[Section]:
    """Build every section that has something to say, but the verdict."""
    real = [place for place in places if not place.emulated]
    timed = [one for one in profiles if one.profile.unit == "ns"]
    sections = [
        *([changes_section(comparison, changes)] if comparison is not None else []),
        tradeoff_section(real),
        published_section(records),
        samples_section(real),
        frames_section(records),
        sustained_section(records),
        layers_section(timed, Section("layers", "Layer by layer")),
        memory_section(places),
        # What was counted is set apart from what was timed.
        layers_section(
            [one for one in profiles if one not in timed],
            Section("counted-layers", "Layer by layer, counted under emulation", kind="emulated"),
        ),
        emulated_section([place for place in places if place.emulated]),
        conditions_section(real),
        provenance_section(places),
    ]
    return [section for section in sections if section.blocks]


def changes_section(comparison: Comparison, changes: Sequence[Change]) -> Section:
    """Show what changed: each machine's figures in a picture of its own, then every table."""
    section = Section("changes", "What changed")
    places: dict[str, list[Change]] = {}
    for change in changes:
        title = f"Counted, not timed: {change.where}" if change.emulated else change.where
        places.setdefault(title, []).append(change)
    for title, some in places.items():
        picture = draw_changes(some[:MOST_CHANGES], title)
        section.blocks += [picture] if picture else []
        rest = len(some) - MOST_CHANGES
        section.blocks += [Line(f"{rest} more are in the tables.")] if rest > 0 else []
    tables = Section("", "")
    tables.add_document(comparison_document(comparison))
    count = sum(len(pair.rows) for pair in comparison.pairs)
    section.blocks.append(Fold(f"All {count} figures, with their verdicts", tables.blocks))
    return section


def tradeoff_section(places: Sequence[Place]) -> Section:
    """Show time against memory and accuracy, one picture per machine."""
    section = Section("choice", "Time, memory and accuracy")
    for place in places:
        picture = draw_tradeoff(place)
        if picture is not None:
            section.blocks += name_place(place, places)
            section.blocks += [picture, [tradeoff_sheet(place)]]
    return section


def tradeoff_sheet(place: Place) -> Sheet:
    """Name the numbers of the picture."""
    front, timed = find_front(place), place.timed()
    accuracy = choose_accuracy([row for row in timed if row.mib is not None])
    columns = (
        Column("no.", key=True),
        Column("file", kind="name"),
        Column("ms"),
        Column("model adds MiB"),
        Column(accuracy[0] if accuracy else "accuracy"),
        Column("front", kind="label"),
    )
    sheet = Sheet(columns)
    for row in timed:
        value = accuracy[1](row) if accuracy else None
        sheet.add(
            str(row.number),
            row.label,
            f"{place.ms(row):.2f}",
            "" if row.mib is None else f"{row.mib:.1f}",
            "" if value is None else f"{value:.1f}",
            style_text("yes", "green") if row.number in front else "",
        )
    return sheet


def published_section(records: Sequence[Record], emulated: bool = False) -> Section:
    """Show the published points as ratios beside ours; say why if there are none."""
    section = Section("published", "Beside the published table, as ratios")
    # Networks of one run alone: see `group_places`.
    runs: dict[str | None, list[Record]] = {}
    for record in records:
        if record.target.emulated == emulated:
            runs.setdefault(record.run, []).append(record)
    groups, reasons = list[Group](), list[str]()
    for some in runs.values():
        try:
            groups += group_beside_published(some, None).groups
        except IncomparableError as error:
            reasons.append(f"No ratios: {error}")
    groups = [group for group in groups if len(group.rows) > 1]
    if not groups:
        alone = "No ratios: no two networks of the published table were measured alike."
        section.blocks.append(Line((reasons or [alone])[0]))
        return section
    section.blocks += [draw_published(group) for group in groups]
    tables = Section("", "")
    tables.add_document(published_document(groups, 0))
    section.blocks += [block for block in tables.blocks if isinstance(block, Lines)]
    others = [block for block in tables.blocks if not isinstance(block, Lines)]
    section.blocks.append(Fold("The same as tables", others))
    return section


def samples_section(places: Sequence[Place]) -> Section:
    """Show every sample, and the table of `bench`."""
    section = Section("samples", "Every sample")
    for place in places:
        section.blocks += name_place(place, places)
        picture = draw_samples(place)
        section.blocks += [picture] if picture else []
        section.add_document(bench_document(place))
    return section


def bench_document(place: Place) -> Document:
    """Return the table of `bench` for the rows of one place."""
    records = tuple(row.record for row in place.rows)
    against = FIRST if len(place.networks) == 1 else NETWORK
    return Runs(records, against, shows_frames=False).document()


def frames_section(records: Sequence[Record]) -> Section:
    """Show what the parts of whole frames take."""
    section, document = Section("frames", "Whole frames, part by part"), Document()
    document.add_sheets(pipeline_sheets(records))
    document.add_lines(pipeline_lines(records))
    section.add_document(document)
    return section


def sustained_section(records: Sequence[Record]) -> Section:
    """Show how the rate of long runs changed."""
    section, document = Section("sustained", "Sustained: the rate over time"), Document()
    document.add_sheets(sustained_sheets(records))
    section.add_document(document)
    return section


def layers_section(profiles: Sequence[Profiled], section: Section) -> Section:
    """Show in a section where time or instructions go, by the checkpoint's modules."""
    for one in profiles:
        section.blocks += list_layers(one)
    return section


def list_layers(profiled: Profiled) -> Iterator[Block]:
    """Yield a picture of the modules farthest from their bound, what changed, and the tree."""
    if profiled.against is not None:
        changed = Section("", "")
        changed.add_document(profiled.document())
        yield from changed.blocks
    yield draw_layers(profiled)
    tree = Section("", "")
    tree.add_document(replace(profiled, against=None, depth=3).document())
    yield Fold(f"All modules of {profiled.profile.label}", tree.blocks)


def memory_section(places: Sequence[Place]) -> Section:
    """Show memory part by part, one picture per machine."""
    section = Section("memory", "Memory")
    shown = [place for place in places if any(row.record.memory for row in place.rows)]
    for place in shown:
        picture = draw_memory(place)
        if picture is not None:
            section.blocks += [*name_place(place, shown), picture]
    return section


def emulated_section(places: Sequence[Place]) -> Section:
    """Show what an emulator counted, apart from everything that is a time."""
    section = Section(
        "emulated", "Counted under emulation: instructions, not time", kind="emulated"
    )
    if places:
        section.blocks.append(
            Line(
                "An emulator ran these files and counted instructions. None of these figures is a"
                " time, and none can be set against one."
            )
        )
    for place in places:
        section.blocks.append(Heading(place.name))
        picture = draw_instructions(place)
        section.blocks += [picture] if picture else []
        section.add_document(bench_document(place))
        hot = list(list_hot(place))
        section.blocks += [Fold("Where the instructions were, file by file", hot)] if hot else []
    records = [row.record for place in places for row in place.rows]
    beside = published_section(records, emulated=True)
    if any(isinstance(block, Picture) for block in beside.blocks):
        section.blocks += [Heading(f"{beside.title} of instructions"), *beside.blocks]
    return section


def list_hot(place: Place) -> Iterator[Block]:
    """Show for each file the stretches of code with most instructions."""
    for row in place.rows:
        picture = draw_hot(row, MOST_HOT)
        if picture is not None:
            yield picture
            yield [hot_sheet(row.record, MOST_HOT)]


CONDITIONS = (
    *(Column("file", kind="name", key=True), Column("GHz before"), Column("GHz after")),
    *(Column("°C before"), Column("°C after"), Column("throttled", kind="label")),
)


def conditions_section(places: Sequence[Place]) -> Section:
    """Show frequency and temperature before and after each row, where a board told them."""
    section = Section("conditions", "Frequency and temperature over the run")
    for place in places:
        sheet = Sheet(CONDITIONS)
        for row in place.rows:
            now = row.record.conditions
            if now is None:
                continue
            ghz = [now.frequency_khz_before, now.frequency_khz_after]
            celsius = [now.celsius_before, now.celsius_after]
            if any(value is not None for value in (*ghz, *celsius)):
                cells = ["" if value is None else f"{value / 1e6:.2f}" for value in ghz]
                cells += ["" if value is None else f"{value:.1f}" for value in celsius]
                hot = style_text("THROTTLED", "red") if now.throttled else ""
                sheet.add(row.label, *cells, hot)
        if sheet.rows:
            section.blocks += [*name_place(place, places), [sheet]]
    return section


MACHINE = (Column("what", kind="label", key=True), Column("value", kind="text"))
FILES = (
    *(Column("no."), Column("file", kind="name", key=True), Column("sha256", kind="name")),
    *(Column("weights", kind="text"), Column("MB"), Column("runtime", kind="text")),
)


def provenance_section(places: Sequence[Place]) -> Section:
    """Say where every figure is from: machine, versions, checksums, the command."""
    section = Section("provenance", "Where the figures are from")
    for place in places:
        files = Sheet(FILES)
        for row in place.rows:
            artefact, runtime = row.record.artefact, row.record.runtime
            files.add(
                *(str(row.number), artefact.file, artefact.sha256, name_weights(row.record)),
                *(f"{artefact.file_bytes / 1e6:.1f}", f"{runtime.label} {runtime.version}"),
            )
        commands = [Shell(command) for command in list_commands(place)]
        section.blocks += [Heading(place.name), [machine_sheet(place)], *commands]
        section.blocks.append(Fold(f"Checksums of {plural(len(place.rows), 'file')}", [[files]]))
    return section


def machine_sheet(place: Place) -> Sheet:
    """Describe the machine and what ran on it."""
    records = [row.record for row in place.rows]
    target, plan = place.first.target, place.first.plan
    runs = sorted({record.run for record in records if record.run})
    facts = {
        "machine": f"{target.name}, {target.cpu_model}, {target.machine}",
        "cores, memory": f"{target.cores}, {target.memory_bytes / (1 << 30):.1f} GiB",
        "system": one_of(record.target.kernel for record in records),
        "governor": target.governor or "",
        "emulator": target.emulator or "",
        "threads, batch": f"{plan.threads}, {plan.batch}",
        "runtimes": one_of(f"{r.runtime.name} {r.runtime.version}" for r in records),
        "Python": one_of(r.runtime.python for r in records),
        "measured": one_of(r.created[:16].replace("T", " ") for r in records),
        "with": one_of(f"{r.tool} {(r.git_commit or '')[:8]}".strip() for r in records),
        "runs": "" if not runs else f"{len(runs)} (rows of one run took turns)",
    }
    sheet = Sheet(MACHINE)
    for what, value in facts.items():
        if value:
            sheet.add(what, value)
    return sheet


def one_of(values: Iterable[str]) -> str:
    """List what differs; what many rows share once."""
    return ", ".join(dict.fromkeys(value for value in values if value))


def list_commands(place: Place) -> list[str]:
    """Write the commands that measure a place's rows again."""
    ways: dict[str, list[str]] = {}
    for row in place.rows:
        record = row.record
        if record.runtime.name not in RUNTIMES:
            continue  # of another toolchain: bench/peers measures it
        plan = record.plan
        often = f"--processes {plan.processes} --runs {plan.iterations} --warmup {plan.warmups}"
        if plan.sustain_seconds is not None:
            often += f" --sustain {plan.sustain_seconds:g}"
        if record.pipeline is not None:
            often += f" --images photos{' --draft' if record.pipeline.draft else ''}"
        ways.setdefault(f"{write_options(record)} {often}", []).append(record.artefact.file)
    return [
        f"fca-edge bench {' '.join(shlex.quote(f) for f in dict.fromkeys(files))} {options}"
        for options, files in ways.items()
    ]


def name_place(place: Place, places: Sequence[Place]) -> list[Block]:
    """Name the machine above its picture, if there are several."""
    return [Heading(place.name)] if len(places) > 1 else []
