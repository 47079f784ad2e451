"""Let ONNX Runtime's own quantiser make a plain ONNX file dynamic int8.

python bench/peers/convert_ort_int8.py VARIANT OUT.onnx SOURCE.onnx
"""

import sys
import tempfile
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process


def main() -> None:
    _, out, source = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        # Products of bytes, as its guide advises for transformers. Signed weights, the default,
        # saturate on processors without VNNI: 14 dB.
        quantize_dynamic(
            prepared,
            out,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )


if __name__ == "__main__":
    main()
