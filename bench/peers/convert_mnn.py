"""Convert a plain ONNX file with MNN's converter; weights stay fp32.

python bench/peers/convert_mnn.py VARIANT OUT.mnn SOURCE.onnx
"""

import sys

from MNN.tools import mnnconvert


def main() -> None:
    _, out, source = sys.argv[1:4]
    words = ["-f", "ONNX", "--modelFile", source, "--MNNModel", out, "--bizCode", "peer"]
    sys.argv = ["mnnconvert", *words]
    mnnconvert.main()


if __name__ == "__main__":
    main()
