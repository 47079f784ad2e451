"""The harness's agent with the peers' runtimes beside its own. NumPy and one runtime.

    python agent.py < plan.json

It speaks the protocol of `fca_edge/device/agent.py`, whose clock, memory meter, marks and
modes it uses from the file itself: both run on this machine, natively or in an emulator. It also
tells how much processor time the inferences took, which shows threads that nobody asked for.
"""

import importlib.util
import json
import os
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HARNESS = os.path.join(HERE, "..", "..", "fca_edge", "device", "agent.py")


def load_harness():
    """Load the harness's agent from its file, without the package around it."""
    spec = importlib.util.spec_from_file_location("harness_agent", HARNESS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harness = load_harness()


class Mnn:
    """MNN's session on its CPU backend, in fp32."""

    def __init__(self):
        import MNN

        self.module, self.version = MNN, version("MNN")

    def load(self, plan):
        self.net = self.module.Interpreter(plan["artefact"])
        wanted = {"backend": "CPU", "numThread": plan["threads"], "precision": "high"}
        self.session = self.net.createSession(wanted)
        self.input = self.net.getSessionInput(self.session)
        self.result = self.net.getSessionOutput(self.session)
        self.shape = [int(n) for n in self.input.getShape()]
        return {"delegate": "CPU", "partitions": None}

    def set(self, array):
        kind, layout = self.module.Halide_Type_Float, self.module.Tensor_DimensionType_Caffe
        self.image = self.module.Tensor(tuple(array.shape), kind, array.copy(), layout)

    def invoke(self):
        # A run writes over its input: without a new copy the second run is of something else.
        self.input.copyFrom(self.image)
        self.net.runSession(self.session)

    def output(self):
        import numpy

        shape = tuple(int(n) for n in self.result.getShape())
        kind, layout = self.module.Halide_Type_Float, self.module.Tensor_DimensionType_Caffe
        made = self.module.Tensor(shape, kind, numpy.zeros(shape, numpy.float32), layout)
        self.result.copyToHostTensor(made)
        return numpy.array(made.getNumpyData(), numpy.float32).reshape(shape)


class OpenVino:
    """OpenVINO on its CPU plug-in, in fp32 also where the processor has halves."""

    def __init__(self):
        import openvino

        self.module, self.version = openvino, version("openvino")

    def load(self, plan):
        wanted = {
            "INFERENCE_NUM_THREADS": plan["threads"],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = self.module.Core().compile_model(plan["artefact"], "CPU", wanted)
        self.request = compiled.create_infer_request()
        self.shape = [int(n) for n in compiled.input(0).shape]
        return {"delegate": "CPU", "partitions": None}

    def set(self, array):
        self.request.set_input_tensor(self.module.Tensor(array))

    def invoke(self):
        self.request.infer()

    def output(self):
        # A view of what the next inference writes over.
        return self.request.get_output_tensor().data.copy()


class Ncnn:
    """ncnn on the CPU, fp32 throughout.

    The artefact is its .param; beside it lie weights (.bin) and the input's shape (.json).
    """

    def __init__(self):
        import ncnn

        self.module, self.version = ncnn, version("ncnn")

    def load(self, plan):
        self.net = self.module.Net()
        options = self.net.opt
        options.num_threads = plan["threads"]
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(options, "use_" + name, False)
        done = self.net.load_param(plan["artefact"])
        stem = plan["artefact"][: -len("param")]
        done = done or self.net.load_model(stem + "bin")
        if done:
            raise RuntimeError("ncnn cannot load the network")
        with open(stem + "json") as file:
            self.shape = json.load(file)
        return {"delegate": "CPU", "partitions": None}

    def set(self, array):
        # A Mat is a view of the array that it is made of, and does not keep it: clone it.
        self.image = self.module.Mat(array[0]).clone()

    def invoke(self):
        extractor = self.net.create_extractor()
        extractor.input("in0", self.image)
        failed, self.out = extractor.extract("out0")
        if failed:
            raise RuntimeError("ncnn cannot run the network")

    def output(self):
        import numpy

        return numpy.array(self.out, numpy.float32)[None]


class ExecuTorch:
    """ExecuTorch's Python runtime, which stands on libtorch; XNNPACK runs what was lowered."""

    def __init__(self):
        import torch

        # The public module around it imports the whole exporter, whose memory is not the runtime's.
        from executorch.extension.pybindings import _C

        self.torch, self.module, self.version = torch, _C, version("executorch")

    def load(self, plan):
        self.torch.set_num_threads(plan["threads"])
        self.module._unsafe_reset_threadpool(plan["threads"])
        self.program = self.module._load_program(plan["artefact"])
        self.method = self.program.load_method("forward")
        self.shape = [int(n) for n in self.method.method_meta().input_tensor_meta(0).sizes()]
        return {"delegate": "XnnpackBackend", "partitions": None}

    def set(self, array):
        self.feed = (self.torch.from_numpy(array.copy()),)

    def invoke(self):
        self.out = self.method(self.feed)

    def output(self):
        return self.out[0].numpy().copy()


def version(package):
    """Return a package's version, "unknown" where it has no list of itself."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


RUNTIMES = {"mnn": Mnn, "openvino": OpenVino, "ncnn": Ncnn, "executorch": ExecuTorch}


def run_samples(runtime, plan, board, generator):
    """Run the samples as the harness does, and tell the processor time besides.

    Of `inputs` in the plan, the first of which runs, the logits are told.
    """
    # What is counted must be the inference alone.
    meter = metered(runtime) if plan["mode"] == "latency" else []
    wall = time.perf_counter_ns()
    timed(runtime, plan, board, generator)
    harness.say(
        "processor",
        cpu_ns=meter[plan["warmups"] :],
        all_cpu_ns=sum(meter),
        wall_ns=time.perf_counter_ns() - wall,
        threads=len(os.listdir("/proc/self/task")),
    )
    if "inputs" in plan:
        harness.say("logits", values=runtime.output().ravel().tolist())


def run_outputs(runtime, plan):
    """Run given inputs forwards and backwards, and store the logits of both ways.

    They differ where an input or an output of one inference is still in use in another.
    """
    import numpy

    inputs = numpy.load(plan["inputs"])
    ways = {"logits": range(len(inputs)), "again": reversed(range(len(inputs)))}
    logits = {}
    for way, order in ways.items():
        rows = {n: run_once(runtime, inputs[n : n + 1]) for n in order}
        logits[way] = numpy.concatenate([rows[n] for n in sorted(rows)])
    numpy.savez(plan["outputs"], **logits)


def run_once(runtime, array):
    """Run an input that nothing else keeps; returns a copy of the logits, (1, classes).

    A runtime that looks at memory that it was only lent reads what has come there since.
    """
    import numpy

    runtime.set(array.copy())
    others = [numpy.full_like(array, numpy.nan) for _ in range(8)]
    runtime.invoke()
    logits = numpy.array(runtime.output())
    del others
    return logits


def metered(runtime):
    """Let a runtime note the processor time of each inference, all threads; returns the notes."""
    notes, invoke = [], runtime.invoke

    def noting():
        start = time.process_time_ns()
        invoke()
        notes.append(time.process_time_ns() - start)

    runtime.invoke = noting
    return notes


harness.RUNTIMES.update(RUNTIMES)
timed, harness.run_samples = harness.run_samples, run_samples
harness.run_outputs = run_outputs

if __name__ == "__main__":
    harness.main()
