"""The harness's agent with the peers' runtimes beside its own. NumPy and one runtime.

    python agent.py < plan.json

It is `fca_edge/device/agent.py` with more runtimes. It also reports the processor time of the
inferences, which shows threads that nobody asked for.
"""

import importlib.util
import json
import os
import time

# Loaded from its file, without the package around it.
HERE = os.path.dirname(os.path.abspath(__file__))
HARNESS = os.path.join(HERE, "..", "..", "fca_edge", "device", "agent.py")
spec = importlib.util.spec_from_file_location("harness_agent", HARNESS)
harness = importlib.util.module_from_spec(spec)
spec.loader.exec_module(harness)


def version(package):
    from importlib.metadata import version  # a runtime that needs none measures without it

    return version(package)


class Mnn:
    """MNN's session on its CPU backend, in fp32."""

    def __init__(self):
        import MNN

        self.module, self.version = MNN, version("MNN")

    def load(self, plan):
        self.net = self.module.Interpreter(plan["artefact"])
        settings = {"backend": "CPU", "numThread": plan["threads"], "precision": "high"}
        self.session = self.net.createSession(settings)
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
        logits = self.module.Tensor(shape, kind, numpy.zeros(shape, numpy.float32), layout)
        self.result.copyToHostTensor(logits)
        return numpy.array(logits.getNumpyData(), numpy.float32).reshape(shape)


class OpenVino:
    """OpenVINO on its CPU plug-in, in fp32 also where the processor has halves."""

    def __init__(self):
        import openvino

        self.module, self.version = openvino, version("openvino")

    def load(self, plan):
        settings = {
            "INFERENCE_NUM_THREADS": plan["threads"],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = self.module.Core().compile_model(plan["artefact"], "CPU", settings)
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
    """ncnn on the CPU, fp32 throughout; beside its .param: weights (.bin), input shape (.json)."""

    def __init__(self):
        import ncnn

        self.module, self.version = ncnn, version("ncnn")

    def load(self, plan):
        self.net = self.module.Net()
        options = self.net.opt
        options.num_threads = plan["threads"]
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(options, "use_" + name, False)
        stem = plan["artefact"][: -len("param")]
        if self.net.load_param(plan["artefact"]) or self.net.load_model(stem + "bin"):
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


RUNTIMES = {"mnn": Mnn, "openvino": OpenVino, "ncnn": Ncnn, "executorch": ExecuTorch}


def run_samples(runtime, plan, board, generator):
    """Run the samples as the harness does; also report processor time, and logits of `inputs`."""
    notes, invoke = [], runtime.invoke

    def invoke_noting():
        start = time.process_time_ns()
        invoke()
        notes.append(time.process_time_ns() - start)

    # What is counted on an emulated machine must be the inference alone.
    if plan["mode"] == "latency":
        runtime.invoke = invoke_noting
    wall = time.perf_counter_ns()
    run_timed(runtime, plan, board, generator)
    harness.say(
        "processor",
        cpu_ns=notes[plan["warmups"] :],
        all_cpu_ns=sum(notes),
        wall_ns=time.perf_counter_ns() - wall,
        threads=len(os.listdir("/proc/self/task")),
    )
    if "inputs" in plan:
        harness.say("logits", values=runtime.output().ravel().tolist())


def run_outputs(runtime, plan):
    """Run given inputs forwards and backwards, and store the logits of both ways.

    They differ if an input or an output of one inference is still in use in another. A runtime
    that looks at memory that it was only lent reads NaN, which has come there since.
    """
    import numpy

    inputs, logits = numpy.load(plan["inputs"]), {}
    for way, step in (("logits", 1), ("again", -1)):
        rows = []
        for array in inputs[::step, None]:
            runtime.set(array.copy())
            others = [numpy.full_like(array, numpy.nan) for _ in range(8)]
            runtime.invoke()
            rows.append(numpy.array(runtime.output()))
            del others
        logits[way] = numpy.concatenate(rows[::step])
    numpy.savez(plan["outputs"], **logits)


harness.RUNTIMES.update(RUNTIMES)
run_timed, harness.run_samples = harness.run_samples, run_samples
harness.run_outputs = run_outputs

if __name__ == "__main__":
    harness.main()
