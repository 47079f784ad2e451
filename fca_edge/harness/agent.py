"""Runs one artefact on the machine that is measured. Stand-alone: NumPy and one runtime.

    python agent.py < plan.json

Reads one JSON plan from standard input, writes JSON lines to standard output.
It must run under any interpreter that a target has, so it imports nothing of ours.

Plan: runtime (onnxruntime | litert | tflite_runtime), artefact, threads, mode, and
for mode "latency" or "memory": warmup, iterations, seed; for mode "outputs": inputs
(.npy, first axis over the inputs), outputs (.npz to write), all_tensors, together (one batch).
"""

import json
import os
import platform
import sys
import time

STATUS_FIELDS = {
    "VmHWM": "peak_rss_bytes",
    "VmRSS": "rss_bytes",
    "RssAnon": "anonymous_bytes",
    "RssFile": "file_bytes",
}


def say(event, **fields):
    """Write one JSON line."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def memory():
    """Read this process's memory from /proc, in bytes; empty where there is no /proc."""
    found = {}
    try:
        with open("/proc/self/status") as status:
            for line in status:
                name, _, rest = line.partition(":")
                if name in STATUS_FIELDS:
                    found[STATUS_FIELDS[name]] = int(rest.split()[0]) * 1024
    except OSError:
        pass
    return found


class OnnxRuntime:
    """ONNX Runtime on its CPU provider."""

    def __init__(self):
        import onnxruntime  # type: ignore[import-untyped]

        self.module, self.version = onnxruntime, onnxruntime.__version__
        onnxruntime.set_default_logger_severity(3)

    def load(self, plan):
        options = self.module.SessionOptions()
        options.intra_op_num_threads = plan["threads"]
        options.inter_op_num_threads = 1
        self.session = self.module.InferenceSession(
            plan["artefact"], options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0]
        self.shape = [n if isinstance(n, int) else 1 for n in self.input.shape]
        metadata = self.session.get_modelmeta().custom_metadata_map
        return {
            "delegate": self.session.get_providers()[0],
            "partitions": None,
            "metadata": metadata,
        }

    def set(self, array):
        self.feed = {self.input.name: array}

    def invoke(self):
        self.out = self.session.run(None, self.feed)

    def output(self):
        return self.out[0]

    def tensors(self):
        names = [o.name for o in self.session.get_outputs()]
        return dict(zip(names, self.out))


class TfLite:
    """LiteRT or tflite-runtime, with the delegate that the interpreter applies by default."""

    def __init__(self, package):
        module = __import__(package + ".interpreter", fromlist=["Interpreter"])
        self.module = module
        try:
            from importlib.metadata import version

            self.version = version(package.replace("_", "-"))
        except Exception:
            self.version = "unknown"

    def load(self, plan):
        extra = {}
        if plan.get("all_tensors"):
            resolver = self.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            extra = {
                "experimental_preserve_all_tensors": True,
                "experimental_op_resolver_type": resolver,
            }
        self.interpreter = self.module.Interpreter(
            plan["artefact"], num_threads=plan["threads"], **extra
        )
        self.interpreter.allocate_tensors()
        details = self.interpreter.get_input_details()[0]
        self.index, self.shape = details["index"], [int(n) for n in details["shape"]]
        self.out = self.interpreter.get_output_details()[0]["index"]
        nodes = self.interpreter._get_ops_details()
        delegated = [n for n in nodes if n["op_name"] == "DELEGATE"]
        operators = [n for n in nodes if n["op_name"] != "DELEGATE"]
        return {
            "delegate": "XNNPACK" if delegated else "none",
            "partitions": len(delegated),
            "operators": len(operators),
            "undelegated": undelegated(operators, delegated),
        }

    def set(self, array):
        self.interpreter.set_tensor(self.index, array)

    def invoke(self):
        self.interpreter.invoke()

    def output(self):
        return self.interpreter.get_tensor(self.out)

    def tensors(self):
        found = {}
        for details in self.interpreter.get_tensor_details():
            try:
                found[details["name"]] = self.interpreter.get_tensor(details["index"])
            except ValueError:
                continue
        return found


def undelegated(operators, delegated):
    """Count operators whose result a delegate reads or the caller gets from a built-in kernel.

    An operator runs in a built-in kernel when none of the delegates covers it; a
    delegate's inputs that some operator makes are the visible border of those.
    """
    made = {int(t): n["op_name"] for n in operators for t in n["outputs"]}
    border = {int(t) for n in delegated for t in n["inputs"] if int(t) in made}
    return len(border)


RUNTIMES = {
    "onnxruntime": OnnxRuntime,
    "litert": lambda: TfLite("ai_edge_litert"),
    "tflite_runtime": lambda: TfLite("tflite_runtime"),
}


def run_outputs(runtime, plan):
    """Run given inputs and store the outputs, or every tensor of the first input."""
    import numpy

    inputs = numpy.load(plan["inputs"])
    rows = []
    for array in inputs[None] if plan.get("together") else inputs[:, None]:
        runtime.set(array)
        runtime.invoke()
        rows.append(numpy.array(runtime.output()))
    if plan.get("all_tensors"):
        numpy.savez(
            plan["outputs"], **{k.replace("/", "|"): v for k, v in runtime.tensors().items()}
        )
    else:
        numpy.savez(plan["outputs"], logits=numpy.concatenate(rows))


def run_samples(runtime, plan):
    """Warm up, then time each inference; in memory mode the times are not reported."""
    import numpy

    generator = numpy.random.default_rng(plan["seed"])
    runtime.set(generator.standard_normal(runtime.shape).astype(numpy.float32))
    for _ in range(plan["warmup"]):
        runtime.invoke()
    samples = []
    for _ in range(plan["iterations"]):
        start = time.perf_counter_ns()
        runtime.invoke()
        samples.append(time.perf_counter_ns() - start)
    if plan["mode"] == "latency":
        say("samples", latency_ns=samples)


def main():
    plan = json.load(sys.stdin)
    runtime = RUNTIMES[plan["runtime"]]()
    say(
        "ready",
        runtime=plan["runtime"],
        version=runtime.version,
        python=platform.python_version(),
        machine=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **memory(),
    )
    start = time.perf_counter_ns()
    facts = runtime.load(plan)
    say("loaded", load_ns=time.perf_counter_ns() - start, **facts, **memory())
    if plan["mode"] == "outputs":
        run_outputs(runtime, plan)
    else:
        run_samples(runtime, plan)
    say("done", **memory())


if __name__ == "__main__":
    main()
