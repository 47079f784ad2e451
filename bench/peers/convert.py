"""Converts a network in a peer's own environment; a peer without a source starts from torch.

    PYTHONPATH=. python bench/peers/convert.py PEER VARIANT OUT [SOURCE]

Imports stand in the functions: no environment has all of them. Weights stay fp32 unless a peer is
int8, which is not every tool's default.
"""

import shutil
import sys
import tempfile
from pathlib import Path


def torch_onnx(variant: str, out: str) -> None:
    """Let torch.onnx write the file with its defaults, nothing else."""
    import torch
    from network import draw_network, empty_image

    names = {"input_names": ["image"], "output_names": ["logits"]}
    image = (empty_image(variant),)
    program = torch.onnx.export(draw_network(variant), image, dynamo=True, **names)
    program.save(out, external_data=False)


def onnxsim(variant: str, out: str, source: str) -> None:
    import onnx
    import onnxsim

    model, right = onnxsim.simplify(onnx.load(source))
    if not right:
        sys.exit("onnxsim's own check failed")
    onnx.save(model, out)


def litert_torch(variant: str, out: str) -> None:
    import litert_torch
    from network import draw_network, empty_image

    litert_torch.convert(draw_network(variant), (empty_image(variant),)).export(out)


def onnx2tf(variant: str, out: str, source: str) -> None:
    import onnx2tf

    with tempfile.TemporaryDirectory() as folder:
        # It rewrites the file that it is given.
        copy = shutil.copy(source, folder)
        onnx2tf.convert(input_onnx_file_path=copy, output_folder_path=folder, verbosity="error")
        shutil.move(next(Path(folder).glob("*_float32.tflite")), out)


def mnn(variant: str, out: str, source: str) -> None:
    # The wrapper around it, MNN.tools, runs `pip install` and reports each use to its maker.
    import _tools

    words = ["-f", "ONNX", "--modelFile", source, "--MNNModel", out, "--bizCode", "peer"]
    _tools.mnnconvert(["mnnconvert", *words])


def openvino(variant: str, out: str, source: str) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(source), out, compress_to_fp16=False)


def ncnn(variant: str, out: str) -> None:
    from convert_ncnn import convert

    convert(variant, Path(out).resolve())


def executorch(variant: str, out: str) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from network import draw_network, empty_image

    program = torch.export.export(draw_network(variant), (empty_image(variant),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    Path(out).write_bytes(lowered.to_executorch().buffer)


def ort_int8(variant: str, out: str, source: str) -> None:
    """Let ONNX Runtime's own quantiser make a file dynamic int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        # Products of bytes, as its guide advises for transformers. Signed weights, the default,
        # saturate on processors without VNNI: 14 dB.
        kinds = {"op_types_to_quantize": ["MatMul", "Gemm"], "per_channel": True}
        quantize_dynamic(prepared, out, weight_type=QuantType.QUInt8, **kinds)


def aeq_int8(variant: str, out: str, source: str) -> None:
    """Let ai-edge-quantizer make litert-torch's file dynamic int8, by its own recipe."""
    from ai_edge_quantizer import quantizer, recipe

    quantizer.Quantizer(source, recipe.dynamic_wi8_afp32()).quantize().export_model(out)


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    globals()[name.replace("-", "_")](*words)
