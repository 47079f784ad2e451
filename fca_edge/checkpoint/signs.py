"""What people hand over by mistake, told from its bytes: one clause of what it is."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

LFS = b"version https://git-lfs"
# Where the bytes stand, the bytes, what they mean.
SIGNS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, MATLAB), not a torch checkpoint"),
    (4, b"TFL3", "a TFLite file: exported already; give the checkpoint that it came from"),
    (4, b"ET12", "an ExecuTorch program: exported already; give the checkpoint that it came from"),
    (0, b"\x93NUMPY", "one NumPy array (.npy), not a state dict"),
    (0, b"GGUF", "a GGUF file of llama.cpp, not a torch checkpoint"),
    (0, b"\x1f\x8b", "compressed with gzip; unpack it (gunzip, tar xf) and give what is in it"),
    (0, b"BZh", "compressed with bzip2; unpack it and give what is in it"),
    (0, b"\xfd7zXZ\x00", "compressed with xz; unpack it and give what is in it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it and give what is in it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and give what is in it"),
    (0, b"Rar!", "a RAR archive; unpack it and give what is in it"),
    (0, b"\x89PNG", "a PNG picture, not a checkpoint"),
    (0, b"\xff\xd8\xff", "a JPEG picture, not a checkpoint"),
    (0, b"%PDF", "a PDF document, not a checkpoint"),
    (0, b"\x7fELF", "a program or a library (ELF), not a checkpoint"),
    (0, b"7767517", "an ncnn network: converted already; give the checkpoint that it came from"),
    (257, b"ustar", "a tar archive; unpack it and give what is in it"),
)
ONNX_FIELDS = (0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42, 0x72)
MOST_IR_VERSION = 32


def what_it_is(head: bytes, suffix: str) -> str:
    """Say what a file that holds no checkpoint is, from its first bytes."""
    if head.startswith(LFS):
        return (
            "a Git LFS pointer, not the weights themselves; run `git lfs pull` in its"
            " repository (or download the file, not its page)"
        )
    for offset, sign, text in SIGNS:
        if head[offset : offset + len(sign)] == sign:
            return text
    if len(head) > 3 and head[0] == 0x08 and head[1] < MOST_IR_VERSION and head[2] in ONNX_FIELDS:
        return "an ONNX file: exported already; give the checkpoint that it came from"
    if not head.strip(b"\x00"):
        return "nothing but zero bytes: a download that was never filled; fetch it again"
    return what_text_it_is(head) or (
        f"no checkpoint format that is known here (it begins with the bytes {head[:8].hex(' ')});"
        + (" damaged, or" if suffix else "")
        + " save it with torch.save or as .safetensors"
    )


def what_text_it_is(head: bytes) -> str | None:
    """Say what kind of text a file is; None where it is no text."""
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    odd = [c for c in text[:1000] if not c.isprintable() and c not in "\r\n\t"]
    if not text or len(odd) > 0:
        return None
    start = text[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<script")):
        return "an HTML page, not the weights: the download led to a web page; fetch the raw file"
    if start.startswith("<"):
        return "an XML file (OpenVINO, a download's error?), not a checkpoint"
    if start.startswith(("{", "[")):
        return "a JSON file, but no index of shards: it has no 'weight_map'"
    first = "".join(c if c.isprintable() else "?" for c in text.splitlines()[0][:50])
    return f"a text file (it begins with '{first}'), not a checkpoint"


def what_zip_it_is(names: list[str]) -> str:
    """Say what a zip archive without a torch pickle is, from its entries' names."""
    files = [name for name in names if not name.endswith("/")]
    if not files:
        return "an empty zip archive"
    if all(name.endswith(".npy") for name in files):
        return "NumPy arrays (.npz), not a torch checkpoint; save them as .safetensors"
    if any(name.endswith("weights.h5") for name in files):
        return "a Keras file, not a torch checkpoint"
    weights = [
        n for n in files if n.lower().endswith((".pth", ".pt", ".safetensors", ".bin", ".ckpt"))
    ]
    if weights:
        return f"a zip archive around '{weights[0][:60]}'; unpack it and give that"
    if any(PurePosixPath(name).name == "model.json" for name in files):
        return "a zip archive of another format than torch's (it has a model.json)"
    return f"a zip archive without a torch checkpoint in it (it begins with '{files[0][:60]}')"


def what_folder_it_is(path: Path) -> str:
    """Say what a folder is, and which of its files to give."""
    names = sorted(p.name for p in path.iterdir())[:10_000]
    if "saved_model.pb" in names:
        return "a TensorFlow SavedModel, not a torch checkpoint"
    if "data.pkl" in names and "data" in names:
        return "an unpacked torch checkpoint; zip it again, or save it again"
    suffixes = (".index.json", ".safetensors", ".pth", ".pt", ".bin", ".ckpt")
    for suffix in suffixes:
        if fits := [name for name in names if name.lower().endswith(suffix)]:
            return f"a folder; give one of its files, such as {path / fits[0]}"
    return "a folder without a checkpoint in it; give a file"
