"""Convert a plain ONNX file with OpenVINO; weights stay fp32, which is not its default.

python bench/peers/convert_openvino.py VARIANT OUT.xml SOURCE.onnx
"""

import sys

import openvino


def main() -> None:
    _, out, source = sys.argv[1:4]
    openvino.save_model(openvino.convert_model(source), out, compress_to_fp16=False)


if __name__ == "__main__":
    main()
