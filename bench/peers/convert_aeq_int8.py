"""Let ai-edge-quantizer make litert-torch's file dynamic int8, by its own recipe.

python bench/peers/convert_aeq_int8.py VARIANT OUT.tflite SOURCE.tflite
"""

import sys

from ai_edge_quantizer import quantizer, recipe


def main() -> None:
    _, out, source = sys.argv[1:4]
    work = quantizer.Quantizer(source, recipe.dynamic_wi8_afp32())
    work.quantize().export_model(out)


if __name__ == "__main__":
    main()
