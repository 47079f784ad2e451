"""Convert a plain ONNX file with onnx2tf and keep its fp32 file.

python bench/peers/convert_onnx2tf.py VARIANT OUT.tflite SOURCE.onnx
"""

import shutil
import sys
import tempfile
from pathlib import Path

import onnx2tf


def main() -> None:
    _, out, source = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        # It rewrites the file that it is given.
        copy = shutil.copy(source, folder)
        onnx2tf.convert(input_onnx_file_path=copy, output_folder_path=folder, verbosity="error")
        shutil.move(next(Path(folder).glob("*_float32.tflite")), out)


if __name__ == "__main__":
    main()
