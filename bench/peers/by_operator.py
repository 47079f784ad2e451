"""Where a runtime's time goes, by kind of operator: why one is ahead of another.

    python bench/peers/by_operator.py FILE.onnx
    bench/out/peers/venvs/openvino/bin/python bench/peers/by_operator.py FILE.xml

The runtime's own profile, 1 thread, median over the inferences of each operator, added up by kind.
"""

import json
import statistics
import sys
import tempfile
from collections import defaultdict

INFERENCES, WARMUPS, MOST = 30, 5, 15


def openvino_profile(file):
    """Return {(kind, kernel): [microseconds of each operator]} of OpenVINO."""
    import numpy
    import openvino

    wanted = {"INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(file, "CPU", wanted)
    request, found = compiled.create_infer_request(), defaultdict(list)
    image = numpy.zeros(list(compiled.input(0).shape), numpy.float32)
    for number in range(WARMUPS + INFERENCES):
        request.infer({0: image})
        for info in request.profiling_info if number >= WARMUPS else ():
            key = (info.node_type, info.exec_type, info.node_name)
            found[key].append(info.real_time.total_seconds() * 1e6)
    return by_kind(found)


def onnx_profile(file):
    """Return the same of ONNX Runtime."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = folder + "/profile"
        session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        image = session.get_inputs()[0]
        feed = {image.name: numpy.zeros(image.shape, numpy.float32)}
        for _ in range(WARMUPS + INFERENCES):
            session.run(None, feed)
        with open(session.end_profiling()) as log:
            events = json.load(log)
    found = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["args"]["op_name"], event["args"].get("provider", ""), event["name"])
            found[key].append(event["dur"])
    return by_kind({key: times[WARMUPS:] for key, times in found.items()})


def by_kind(found):
    """Collect operators' medians by kind and kernel."""
    kinds = defaultdict(list)
    for (kind, kernel, _), times in found.items():
        kinds[kind, kernel].append(statistics.median(times))
    return kinds


PROFILES = {".onnx": onnx_profile, ".xml": openvino_profile}


def main():
    file = sys.argv[1]
    kinds = PROFILES[file[file.rindex(".") :]](file)
    total = sum(map(sum, kinds.values()))
    print("| operator | kernel | count | ms | share |\n|---|---|---:|---:|---:|")
    for (kind, kernel), times in sorted(kinds.items(), key=lambda k: -sum(k[1]))[:MOST]:
        spent = sum(times)
        print(f"| {kind} | {kernel} | {len(times)} | {spent / 1e3:.2f} | {spent / total:.0%} |")
    print(f"| all | | {sum(map(len, kinds.values()))} | {total / 1e3:.2f} | |")


if __name__ == "__main__":
    main()
