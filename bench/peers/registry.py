"""The peers: what each is made of. Versions are pinned; a new peer is a new entry of PEERS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import Environment

from fca_edge.targets.provision.machines import wheels
from fca_edge.targets.provision.wheels import Wheels

HERE = Path(__file__).parent
NUMPY = "numpy==2.4.6"

TORCH = Environment("torch", ("torch==2.13.0", NUMPY))
ONNX = Environment("torch-onnx", ("onnx==1.23.2", "onnxscript==0.7.2", "onnxsim==0.8.1"), TORCH)
LITERT_TORCH = Environment("litert-torch", ("litert-torch==0.10.0",), TORCH)
# Without TensorFlow from version 2 on, and with Python 3.12 alone.
ONNX2TF = Environment("onnx2tf", ("onnx2tf==2.6.9",), version="3.12")
MNN = Environment("mnn", ("MNN==3.6.1", NUMPY))
OPENVINO = Environment("openvino", ("openvino==2026.4.1", NUMPY))
NCNN = Environment("ncnn", ("ncnn==1.0.20261020", NUMPY))
PNNX = Environment("pnnx", ("pnnx==20261020", NCNN.requirements[0]), TORCH)
ORT_INT8 = Environment("ort-int8", ("onnxruntime==1.32.0", "onnx==1.23.2", NUMPY))
AEQ_INT8 = Environment("aeq-int8", ("ai-edge-quantizer==0.10.0", NUMPY))
EXECUTORCH = Environment("executorch", ("executorch==1.5.1",), TORCH)
# The newest for aarch64 that was built without CUDA; ExecuTorch's library finds what it needs.
ARM_TORCH = (
    *("torch==2.10.0", NUMPY, "typing_extensions==4.16.0", "filelock==4.2.12", "fsspec==2026.9.0"),
    *("sympy==1.14.0", "mpmath==1.3.0", "networkx==3.6.1", "jinja2==3.1.6", "markupsafe==3.0.4"),
)


@dataclass(frozen=True)
class Peer:
    """One way from the network to an inference that is not ours.

    Attributes:
        title: as the table shows it.
        convert: script that writes the file, run in `converter`.
        converter: environment for the export.
        tools: packages that the export needs; what they depend on is found.
        suffix: of the file that is loaded; parts beside it have the same stem.
        layout: of its input.
        runtime: the agent's name of the runtime.
        module: what the runtime's interpreter imports.
        runner: environment of the runtime; None is the measuring interpreter, as for our files.
        needs: packages that running needs.
        source: the peer whose file the conversion starts from.
        precision: of the file.
        arm: wheels for emulated ARM machines; where there are none the machine's own are taken.
    """

    name: str
    title: str
    convert: str
    converter: Environment
    tools: tuple[str, ...]
    suffix: str
    runtime: str
    module: str
    needs: tuple[str, ...]
    runner: Environment | None = None
    layout: str = "nchw"
    source: str | None = None
    precision: str = "fp32"
    arm: tuple[Wheels, ...] = ()


# What peers on our own runtimes share.
ON_ONNXRUNTIME: dict[str, Any] = {
    "suffix": ".onnx",
    "runtime": "onnxruntime",
    "module": "onnxruntime",
    "needs": ("onnxruntime",),
}
ON_LITERT: dict[str, Any] = {
    "suffix": ".tflite",
    "runtime": "litert",
    "module": "ai_edge_litert",
    "needs": ("ai-edge-litert",),
}

PEERS: tuple[Peer, ...] = (
    Peer(
        name="torch-onnx",
        title="torch.onnx + ONNX Runtime",
        convert="convert_torch_onnx.py",
        converter=ONNX,
        tools=("torch", "onnx", "onnxscript"),
        **ON_ONNXRUNTIME,
    ),
    Peer(
        name="onnxsim",
        title="torch.onnx + onnxsim + ONNX Runtime",
        convert="convert_onnxsim.py",
        converter=ONNX,
        tools=("onnxsim",),
        **ON_ONNXRUNTIME,
        source="torch-onnx",
    ),
    Peer(
        name="litert-torch",
        title="litert-torch + LiteRT",
        convert="convert_litert_torch.py",
        converter=LITERT_TORCH,
        tools=("litert-torch",),
        **ON_LITERT,
    ),
    Peer(
        name="onnx2tf",
        title="torch.onnx + onnx2tf + LiteRT",
        convert="convert_onnx2tf.py",
        converter=ONNX2TF,
        tools=("onnx2tf",),
        **ON_LITERT,
        layout="nhwc",
        source="torch-onnx",
    ),
    Peer(
        name="mnn",
        title="torch.onnx + MNN",
        convert="convert_mnn.py",
        converter=MNN,
        tools=("MNN",),
        suffix=".mnn",
        runtime="mnn",
        module="MNN",
        needs=("MNN",),
        runner=MNN,
        source="torch-onnx",
        arm=(wheels("peers-mnn", "aarch64", *MNN.requirements),),
    ),
    Peer(
        name="openvino",
        title="torch.onnx + OpenVINO",
        convert="convert_openvino.py",
        converter=OPENVINO,
        tools=("openvino",),
        suffix=".xml",
        runtime="openvino",
        module="openvino",
        needs=("openvino",),
        runner=OPENVINO,
        source="torch-onnx",
        arm=(wheels("peers-openvino", "aarch64", *OPENVINO.requirements),),
    ),
    Peer(
        name="ncnn",
        title="pnnx + ncnn",
        convert="convert_ncnn.py",
        converter=PNNX,
        tools=("pnnx", "ncnn"),
        suffix=".param",
        runtime="ncnn",
        module="ncnn",
        needs=("ncnn",),
        runner=NCNN,
        arm=(
            wheels("peers-ncnn", "aarch64", *NCNN.requirements),
            # Debian's own NumPy lies beside it: PyPI has none for 32 bits.
            wheels("peers-ncnn-32", "armv7l", NCNN.requirements[0]),
        ),
    ),
    Peer(
        name="executorch",
        title="ExecuTorch, XNNPACK",
        convert="convert_executorch.py",
        converter=EXECUTORCH,
        tools=("executorch", "torch"),
        suffix=".pte",
        runtime="executorch",
        module="executorch",
        needs=("executorch", "torch"),
        runner=EXECUTORCH,
        arm=(wheels("peers-executorch", "aarch64", *EXECUTORCH.requirements, *ARM_TORCH),),
    ),
    Peer(
        name="ort-int8",
        title="int8: torch.onnx + quantize_dynamic + ONNX Runtime",
        convert="convert_ort_int8.py",
        converter=ORT_INT8,
        tools=("onnxruntime", "onnx"),
        **ON_ONNXRUNTIME,
        source="torch-onnx",
        precision="int8",
    ),
    Peer(
        name="aeq-int8",
        title="int8: litert-torch + ai-edge-quantizer + LiteRT",
        convert="convert_aeq_int8.py",
        converter=AEQ_INT8,
        tools=("ai-edge-quantizer",),
        **ON_LITERT,
        source="litert-torch",
        precision="int8",
    ),
)
BY_NAME = {peer.name: peer for peer in PEERS}
