"""What people hand over by mistake, told from its bytes: one clause of what it is."""

from __future__ import annotations

from fca_edge.checkpoint.elsewhere import RENAME, TF_DATA

GIVE_FOLDER = "give its folder, to be told how to read it"
LFS = b"version https://git-lfs"
# Where the bytes stand, the bytes, what they mean.
SIGNS: tuple[tuple[int, bytes, str], ...] = (
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file (Keras, MATLAB), not a torch checkpoint; read it with keras.models.load_model"
        f" or h5py, {RENAME}",
    ),
    (4, b"TFL3", "a TFLite file: exported already; give the checkpoint that it came from"),
    (4, b"ET12", "an ExecuTorch program: exported already; give the checkpoint that it came from"),
    (0, b"\x93NUMPY", "one NumPy array (.npy), not a state dict; save all of them as .safetensors"),
    (0, b"GGUF", "a GGUF file of llama.cpp, not a torch checkpoint; give what it was made of"),
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
    (
        0,
        b"\x0c\xdb\x3a\x2a",
        "a part of an Orbax checkpoint (JAX); give its folder, to be told more",
    ),
    (0, b"\x08\x01\x12", f"a TensorFlow SavedModel's graph; {GIVE_FOLDER}"),
    (257, b"ustar", "a tar archive; unpack it and give what is in it"),
)
ONNX_FIELDS = (0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42, 0x72)
MOST_IR_VERSION = 32
ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
FLAX = f"flax.serialization.msgpack_restore, {RENAME}"
JOBLIB = "a model of scikit-learn (joblib), not of torch; no network of the zoo can be made of it"


def describe_file(head: bytes, name: str) -> str:
    """Say what a file that holds no checkpoint is, from its first bytes.

    Args:
        name: the file's own, where the bytes alone tell nothing.
    """
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
    if head.startswith(ZLIB):
        return "compressed with zlib, as joblib (scikit-learn) does; unpack it and save its weights"
    if is_msgpack(head):
        return f"a MessagePack file (Flax, JAX), not a torch checkpoint; read it with {FLAX}"
    if TF_DATA.fullmatch(name):
        return f"a part of a TensorFlow checkpoint, not of torch; {GIVE_FOLDER}"
    if not head.strip(b"\x00"):
        return "nothing but zero bytes: a download that was never filled; fetch it again"
    return describe_text(head) or (
        f"no checkpoint format that is known here (it begins with the bytes {head[:8].hex(' ')});"
        + (" damaged, or" if "." in name else "")
        + " save it with torch.save or as .safetensors"
    )


def is_msgpack(head: bytes) -> bool:
    """Tell a MessagePack mapping whose first key is a short text."""
    size = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0)
    length = head[size] - 0xA0 if 0 < size < len(head) else 0
    key = head[size + 1 : size + 1 + length]
    return 0 < length < 32 and len(key) == length and key.isascii() and key.decode().isprintable()


def describe_text(head: bytes) -> str | None:
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
