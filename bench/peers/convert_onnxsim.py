"""Let onnxsim simplify a plain ONNX file.

python bench/peers/convert_onnxsim.py VARIANT OUT.onnx SOURCE.onnx
"""

import sys

import onnx
import onnxsim


def main() -> None:
    _, out, source = sys.argv[1:4]
    model, right = onnxsim.simplify(onnx.load(source))
    if not right:
        sys.exit("onnxsim's own check failed")
    onnx.save(model, out)


if __name__ == "__main__":
    main()
