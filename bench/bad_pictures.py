"""Every bad folder of pictures with its line and exit code; good ones that look odd go through.

python bench/bad_pictures.py

Fifty thousand images are `bench/eval_memory.py`.
"""

import shutil
import sys

import numpy as np
from bad_input import DIGITS, HERE, WRONG, run
from PIL import Image

OUT = HERE / "out" / "bad_pictures"
SIDE = 40


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    for name in ("empty", "cut", "grey", "one_class", "other_labels"):
        (OUT / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(4):
        pixels = generator.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        for place in ("cut", "grey/3", "one_class/3", "other_labels/cat", "other_labels/dog"):
            (OUT / place).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(OUT / place / f"{number}.png")
        Image.fromarray(pixels[..., 0]).save(OUT / "grey" / "3" / f"grey{number}.png")
    whole = (OUT / "cut" / "2.png").read_bytes()
    (OUT / "cut" / "2.png").write_bytes(whole[: len(whole) // 2])
    made = OUT / "made"
    run(
        *("a good export first", "export", "--checkpoint", str(DIGITS), "--format", "onnx"),
        *("--out", str(made)),
    )
    artefact = str(made / "digits-fp32.onnx")
    static = ("export", "--checkpoint", str(DIGITS), "--precision", "int8-static")
    static = (*static, "--format", "tflite", "--out", str(OUT / "static"))
    run("calibration without a folder", *static)
    run("calibration folder empty", *static, "--calibration", str(OUT / "empty"))
    run("calibration image corrupt", *static, "--calibration", str(OUT / "cut"))
    evaluate = ("eval", artefact, "--data")
    run("greyscale among RGB", *evaluate, str(OUT / "grey"))
    run("one class", *evaluate, str(OUT / "one_class"))
    run("labels that do not fit", *evaluate, str(OUT / "other_labels"))
    run("folder empty", *evaluate, str(OUT / "empty"))
    if WRONG:
        sys.exit(f"another exit code than expected: {', '.join(WRONG)}")
    print("left by refused exports:", sorted(p.name for p in (OUT / "static").glob("*")))


if __name__ == "__main__":
    main()
