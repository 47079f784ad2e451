"""Runs one artefact on the machine that is measured. Stand-alone: NumPy and one runtime.

Reads a JSON plan, one line, from standard input (python agent.py < plan.json), writes JSON lines
to standard output. It must run under any interpreter that a target has: it imports nothing of ours.

The plan's fields are those of `AgentPlan` in fca_edge/targets/plan.py; what is None is left out.
"""

import contextlib
import glob
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import time

# Closing descriptors that nobody has: system calls without effect, which tcg_cost.c waits for.
MARK_BEGIN, MARK_END = 0x0FCA0001, 0x0FCA0002
SAMPLING_SECONDS, COOLING_SECONDS = 0.05, 600
# What a long run is cut into.
WINDOWS = 30
# Raspberry Pi's firmware: frequency capped, throttled, soft temperature limit.
HELD_BACK = 0xE
# Ends the name of an event of ONNX Runtime's profiler.
KERNEL_TIME = "_kernel_time"
STATUS_FIELDS = {"VmHWM": "peak_rss_bytes", "VmRSS": "rss_bytes"}
STATUS_FIELDS.update(RssAnon="anonymous_bytes", RssFile="file_bytes")


def say(event, **fields):
    """Write one JSON line."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def mark(which):
    """Tell a counting emulator that an inference begins or ends."""
    with contextlib.suppress(OSError):
        os.close(which)


def read(path, kind=int):
    """Return what a small file holds, None if it holds no such thing."""
    try:
        with open(path) as file:
            return kind(file.read().strip())
    except (OSError, ValueError):
        return None


def parse_cores(text):
    """Read a list of cores such as "0-3,5"."""
    spans = [part.partition("-") for part in text.split(",")]
    return {n for first, _, last in spans for n in range(int(first), int(last or first) + 1)}


class Board:
    """The cores and sensors of the machine, and this process's place on it."""

    def __init__(self, plan):
        self.threads, root = plan["threads"], plan.get("sysfs") or "/sys"
        self.cpu, self.thermal = f"{root}/devices/system/cpu/cpu", f"{root}/class/thermal"
        self.firmware = f"{root}/devices/platform/soc/soc:firmware/get_throttled"
        self.cpus = self.pin(plan["cpus"]) if plan.get("cpus") else None

    def pin(self, cpus):
        """Keep this process and its threads on the cores asked for; returns their list."""
        allowed = os.sched_getaffinity(0)
        if cpus in ("big", "little"):
            sizes = {cpu: self.size(f"{self.cpu}{cpu}") for cpu in allowed}
            size = (max if cpus == "big" else min)(sizes.values())
            chosen = {cpu for cpu in allowed if sizes[cpu] == size}
        else:
            chosen = parse_cores(cpus)
            if not chosen <= allowed:
                sys.exit(f"--cpus {cpus}: not all there; this machine has {sorted(allowed)}")
        os.sched_setaffinity(0, chosen)
        return ",".join(map(str, sorted(chosen)))

    def size(self, core):
        return read(f"{core}/cpu_capacity") or read(f"{core}/cpufreq/cpuinfo_max_freq") or 0

    def wait(self, plan):
        """Cool down: for a time, then until the hottest sensor is below a temperature."""
        time.sleep(plan.get("cool_down_seconds") or 0)
        limit, until = plan.get("start_below_celsius"), time.monotonic() + COOLING_SECONDS
        if limit is not None and self.celsius() is None:
            sys.exit("there is no temperature sensor that could tell when to start")
        while limit is not None and self.celsius() >= limit:
            if time.monotonic() > until:
                sys.exit(f"still {self.celsius():.1f} degrees, not below {limit:.1f}")
            time.sleep(0.5)

    def celsius(self):
        values = [read(path) for path in glob.glob(f"{self.thermal}/thermal_zone*/temp")]
        return max((value / 1000 for value in values if value is not None), default=None)

    def frequency_khz(self, process="self"):
        """Return the slowest frequency among the cores that a process's busiest threads use."""
        stats = [read(path, str) for path in glob.glob(f"/proc/{process}/task/*/stat")]
        fields = [stat.rpartition(")")[2].split() for stat in stats if stat]
        busiest = sorted(((int(f[11]) + int(f[12]), f[36]) for f in fields), reverse=True)
        cores = {core for _, core in busiest[: self.threads]}
        frequencies = [read(f"{self.cpu}{core}/cpufreq/scaling_cur_freq") for core in cores]
        return min(filter(None, frequencies), default=None)

    def state(self, process="self"):
        """Frequency, temperature, and whether kernel or firmware hold the cores back now."""
        held = bool((read(self.firmware, lambda text: int(text, 16)) or 0) & HELD_BACK)
        for kind in glob.glob(f"{self.thermal}/cooling_device*/type"):
            held |= "cpufreq" in (read(kind, str) or "") and bool(read(kind[:-4] + "cur_state"))
        return {
            "frequency_khz": self.frequency_khz(process),
            "celsius": self.celsius(),
            "held_back": held,
        }


class StatusMeter:
    """This process's memory from /proc/self/status; nothing if there is no /proc."""

    def read(self):
        lines = (read("/proc/self/status", str) or "").splitlines()
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        sizes = {v: int(fields[k][0]) * 1024 for k, v in STATUS_FIELDS.items() if k in fields}
        return {**sizes, "method": "VmHWM"} if sizes else {}


class GuestMeter:
    """Memory of a guest inside a user-mode emulator, without the emulator's own.

    The emulator shows a guest its own mappings in /proc/self/maps and lets the host's
    /proc/self/smaps through: what is in both is the guest's. Peaks are of samples.
    """

    def __init__(self):
        self.peak = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            self.read()
            time.sleep(SAMPLING_SECONDS)

    def read(self):
        with self.lock:
            rss, anonymous = guest_rss()
            self.peak = max(self.peak, rss)
            return {
                "rss_bytes": rss,
                "anonymous_bytes": anonymous,
                "file_bytes": rss - anonymous,
                "peak_rss_bytes": self.peak,
                "method": f"guest mappings, sampled every {SAMPLING_SECONDS * 1000:.0f} ms",
            }


def mappings(path):
    """Yield (start, end, offset, file, lines that follow) of a maps or smaps file."""
    mapping = None
    with open(path) as lines:
        for line in lines:
            words = line.split(None, 5)
            start, dash, end = words[0].partition("-")
            if dash and not line[0].isupper():
                if mapping:
                    yield mapping
                name = words[5].strip() if len(words) > 5 else ""
                mapping = (int(start, 16), int(end, 16), int(words[2], 16), name, {})
            elif mapping:
                mapping[4][words[0].rstrip(":")] = words[1] if len(words) > 1 else ""
    if mapping:
        yield mapping


def guest_rss():
    """Return resident and anonymous bytes of the guest's mappings."""
    guest = [m for m in mappings("/proc/self/maps") if not m[3].startswith("[vsyscall")]
    host = list(mappings("/proc/self/smaps"))
    base = guest_base(guest, host)
    rss = anonymous = 0
    spans = sorted((start + base, end + base) for start, end, _, _, _ in guest)
    for start, end, _, _, facts in host:
        if any(low < end and start < high for low, high in spans):
            rss += int(facts.get("Rss", 0)) * 1024
            anonymous += int(facts.get("Anonymous", 0)) * 1024
    return rss, anonymous


def guest_base(guest, host):
    """Where the emulator put address 0 of the guest: a file's mapping is seen from both sides."""
    places = {}
    for start, _, offset, name, _ in host:
        places.setdefault((name, offset), []).append(start)
    for start, _, offset, name, _ in guest:
        addresses = places.get((name, offset), [])
        if name.startswith("/") and len(addresses) == 1:
            return addresses[0] - start
    return 0


class OnnxRuntime:
    """ONNX Runtime on its CPU provider, behind others that leave to it what they cannot do."""

    def __init__(self, *before):
        import onnxruntime

        self.module, self.version, self.before = onnxruntime, onnxruntime.__version__, before
        self.runs = 0
        onnxruntime.set_default_logger_severity(3)

    def load(self, plan):
        options = self.module.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = plan["threads"], 1
        # Others have threads of their own, which would wait for these while they spin.
        spin = "0" if self.before else "1"
        options.add_session_config_entry("session.intra_op.allow_spinning", spin)
        if plan["mode"] == "profile":
            self.folder = tempfile.mkdtemp()
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(self.folder, "profile")
        provider_options = {"intra_op_num_threads": str(plan["threads"])}
        providers = [*((name, provider_options) for name in self.before), "CPUExecutionProvider"]
        self.session = self.module.InferenceSession(plan["artefact"], options, providers)
        self.input, *self.more = self.session.get_inputs()
        self.shape = [n if isinstance(n, int) else 1 for n in self.input.shape]
        if not isinstance(self.input.shape[0], int):
            self.shape[0] = plan.get("batch", 1)
        meta = self.session.get_modelmeta().custom_metadata_map
        if self.before and self.session.get_providers()[0] not in self.before:
            raise RuntimeError(f"this ONNX Runtime was built without {self.before[0]}")
        return {"delegate": self.session.get_providers()[0], "partitions": None, "metadata": meta}

    def set(self, given):
        if isinstance(given, dict):
            self.feed = given
            return
        self.feed = {self.input.name: given}
        for one in self.more:  # of a detector: height and width without padding
            import numpy

            self.feed[one.name] = numpy.array(given.shape[2:], "int64")

    def invoke(self):
        self.out = self.session.run(None, self.feed)
        self.runs += 1

    def operators(self, runs):
        """Return name, kind and nanoseconds of each operator in the last runs of this session."""
        try:
            with open(self.session.end_profiling()) as file:
                events = [e for e in json.load(file) if e["name"].endswith(KERNEL_TIME)]
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        # All runs do the same, one operator after the other; those before were to warm up.
        count = len(events) // self.runs
        last = [events[i * count :][:count] for i in range(self.runs - runs, self.runs)]
        columns = list(zip(*last))
        if any(e["name"] != column[0]["name"] for column in columns for e in column):
            sys.exit("ONNX Runtime's profiler told of the runs in no order")
        return [
            {
                "name": column[0]["name"][: -len(KERNEL_TIME)],
                "kind": column[0]["args"]["op_name"],
                "parts": None,
                "samples": [1000 * e["dur"] for e in column],
            }
            for column in columns
        ]

    def output(self):
        return self.out[0]

    def tensors(self):
        return dict(zip((o.name for o in self.session.get_outputs()), self.out))

    results = tensors


class TfLite:
    """LiteRT or tflite-runtime, with the delegate that the interpreter applies by default."""

    def __init__(self, package):
        module = __import__(package + ".interpreter", fromlist=["Interpreter"])
        self.module, self.version = module, "unknown"
        with contextlib.suppress(Exception):
            from importlib.metadata import version

            self.version = version(package.replace("_", "-"))

    def load(self, plan):
        extra = {}
        if plan.get("all_tensors"):
            resolver = self.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            extra = {"experimental_preserve_all_tensors": True}
            extra["experimental_op_resolver_type"] = resolver
        self.interpreter = self.module.Interpreter(
            plan["artefact"], num_threads=plan["threads"], **extra
        )
        self.interpreter.allocate_tensors()
        details = self.interpreter.get_input_details()[0]
        self.index, self.shape = details["index"], [int(n) for n in details["shape"]]
        self.outputs = self.interpreter.get_output_details()
        self.out = self.outputs[0]["index"]
        nodes = self.interpreter._get_ops_details()
        delegated = [n for n in nodes if n["op_name"] == "DELEGATE"]
        operators = [n for n in nodes if n["op_name"] != "DELEGATE"]
        return {
            "delegate": "XNNPACK" if delegated else "none",
            "partitions": len(delegated),
            "operators": len(operators),
            "undelegated": count_undelegated(operators, delegated),
        }

    def set(self, given):
        (array,) = given.values() if isinstance(given, dict) else (given,)
        self.interpreter.set_tensor(self.index, array)

    def invoke(self):
        self.interpreter.invoke()

    def output(self):
        return self.interpreter.get_tensor(self.out)

    def results(self):
        return {o["name"]: self.interpreter.get_tensor(o["index"]) for o in self.outputs}

    def tensors(self):
        arrays = {}
        for details in self.interpreter.get_tensor_details():
            with contextlib.suppress(ValueError):
                arrays[details["name"]] = self.interpreter.get_tensor(details["index"])
        return arrays


def count_undelegated(operators, delegated):
    """Count operators of built-in kernels that make an input of the delegate, its border."""
    results = {int(t) for n in operators for t in n["outputs"]}
    return len({int(t) for n in delegated for t in n["inputs"]} & results)


RUNTIMES = {
    "onnxruntime": OnnxRuntime,
    "onnxruntime-xnnpack": lambda: OnnxRuntime("XnnpackExecutionProvider"),
    "litert": lambda: TfLite("ai_edge_litert"),
    "tflite-2.14": lambda: TfLite("tflite_runtime"),
}


def run_named(runtime, stored):
    """Run sets of inputs, "number|name", and store all outputs of each likewise."""
    arrays = {}
    for number in sorted({key.partition("|")[0] for key in stored}):
        begin = number + "|"
        runtime.set({k[len(begin) :]: v for k, v in stored.items() if k.startswith(begin)})
        runtime.invoke()
        arrays.update({begin + k.replace("/", "|"): v for k, v in runtime.results().items()})
    return arrays


def run_outputs(runtime, plan):
    """Run given inputs and store the logits of all, or every tensor of the last inference."""
    import numpy

    inputs = numpy.load(plan["inputs"])
    if plan.get("named"):
        with inputs as stored:
            numpy.savez(plan["outputs"], **run_named(runtime, dict(stored)))
        return
    rows = []
    for array in inputs[None] if plan.get("together") else inputs[:, None]:
        runtime.set(array)
        runtime.invoke()
        rows.append(numpy.array(runtime.output()))
    arrays = {"logits": numpy.concatenate(rows)}
    if plan.get("all_tensors"):
        arrays = {k.replace("/", "|"): v for k, v in runtime.tensors().items()}
    numpy.savez(plan["outputs"], **arrays)


def run_samples(runtime, plan, board, generator):
    """Warm up, then time each inference; only in latency mode are the times reported."""
    import numpy

    if runtime.shape[0] < plan.get("batch", 1):
        sys.exit(f"its batch is fixed at {runtime.shape[0]}; export it with --dynamic-batch")
    if plan.get("inputs"):
        image = numpy.load(plan["inputs"])[:1]
    else:
        image = numpy.empty(runtime.shape, "float32")
        # Drawn at once it would be float64, and count as the model's memory.
        for piece in numpy.array_split(image.reshape(-1), 64):
            piece[...] = generator.standard_normal(piece.size)
    runtime.set(image)
    for _ in range(plan.get("warmups", 0)):
        runtime.invoke()
    if plan["mode"] == "profile":
        profile(runtime, plan["iterations"])
        return
    if plan["mode"] == "cost":
        count(runtime, plan["iterations"])
        return
    if plan["mode"] == "sustain":
        sustain(runtime, plan, board)
        return
    # The warm-ups have brought the cores up to their frequency.
    before, samples = board.state(), []
    for _ in range(plan["iterations"]):
        start = time.perf_counter_ns()
        runtime.invoke()
        samples.append(time.perf_counter_ns() - start)
    if plan["mode"] == "latency":
        found = {"objects": len(runtime.output())} if getattr(runtime, "more", None) else {}
        say("samples", latency_ns=samples, before=before, after=board.state(), **found)


def sustain(runtime, plan, board):
    """Time inferences for many seconds, in windows; each is written as it ends, then all are told.

    A window has one inference at least, and the last one ends with the time.
    """
    length, windows = plan["seconds"] / WINDOWS, []
    start = time.monotonic()
    with open(plan["outputs"], "w") as file:
        while time.monotonic() < start + plan["seconds"]:
            samples, until = [], start + (len(windows) + 1) * length
            while not samples or time.monotonic() < until:
                begin = time.perf_counter_ns()
                runtime.invoke()
                samples.append(time.perf_counter_ns() - begin)
            end_ns = int((time.monotonic() - start) * 1e9)
            windows.append({"end_ns": end_ns, "latency_ns": samples, **board.state()})
            file.write(json.dumps(windows[-1]) + "\n")
            file.flush()
    say("sustained", windows=windows)


def count(runtime, iterations):
    """Mark each inference, and tell where code is mapped, for whoever reads the counts."""
    for _ in range(iterations):
        mark(MARK_BEGIN)
        runtime.invoke()
        mark(MARK_END)
    say("maps", maps=[m[:4] for m in mappings("/proc/self/maps") if m[3].startswith("/")])


def profile(runtime, iterations):
    """Time each inference with the runtime's own profiler, between marks as `count` does."""
    whole = []
    for _ in range(iterations):
        start = time.perf_counter_ns()
        mark(MARK_BEGIN)
        runtime.invoke()
        mark(MARK_END)
        whole.append(time.perf_counter_ns() - start)
    say("profile", whole=whole, operators=runtime.operators(iterations))


def run_native(plan, board):
    """Let the program that the runtime is do what the plan says, on the cores that are ours now.

    It becomes this process, but where its time is taken: then this one looks at the board.
    """
    timed = plan["mode"] == "latency"
    words = [plan["native"], "--agent", json.dumps({**plan, "cpus": board.cpus, "waits": timed})]
    if not timed:
        os.execv(words[0], words)
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, universal_newlines=True) as child:
        before = None
        for line in child.stdout:
            event = json.loads(line)
            if event["event"] == "warm":
                before = board.state(child.pid)
                child.stdin.write("\n")
                child.stdin.flush()
                continue
            if event["event"] == "samples":
                event.update(before=before, after=board.state(child.pid))
            say(event.pop("event"), **event)
    if child.returncode < 0:
        os.kill(os.getpid(), -child.returncode)  # this process ends as that one did
    sys.exit(child.returncode)


def main():
    # From 1.29 on ONNX Runtime tells Microsoft what it runs, in a thread beside what is measured.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    plan = json.loads(sys.stdin.readline())
    # Before the runtime is imported: its threads inherit the cores.
    board = Board(plan)
    board.wait(plan)
    if plan.get("native"):
        run_native(plan, board)
    meter = GuestMeter() if plan.get("guest") else StatusMeter()
    runtimes = runpy.run_path(plan["lean"])["RUNTIMES"] if plan.get("lean") else RUNTIMES
    runtime = runtimes[plan["runtime"]]()
    # Before the baseline: what draws the input is not the model's memory.
    from numpy.random import default_rng

    generator = default_rng(plan.get("seed"))
    say(
        "ready",
        runtime=plan["runtime"],
        version=runtime.version,
        python=platform.python_version(),
        machine=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        cpus=board.cpus,
        **meter.read(),
    )
    if plan["mode"] == "frames":
        # A .zip file, of which this runs frames.py.
        run_frames = runpy.run_path(plan["frames"])["run_frames"]
        say("frames", **run_frames(plan, board.state))
        say("done", **meter.read())
        return
    start = time.perf_counter_ns()
    facts = runtime.load(plan)
    if facts.get("plain") and plan["mode"] not in ("outputs", "stream"):
        sys.exit("not loaded in little memory: " + facts["plain"])
    say("loaded", load_ns=time.perf_counter_ns() - start, **facts, **meter.read())
    if plan["mode"] in ("outputs", "stream"):
        for line in sys.stdin if plan["mode"] == "stream" else ("{}",):
            run_outputs(runtime, {**plan, **json.loads(line)})
            say("answer")
    else:
        run_samples(runtime, plan, board, generator)
    say("done", **meter.read())


if __name__ == "__main__":
    main()
