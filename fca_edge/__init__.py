"""From a trained FcaFormer to verified ONNX and TFLite files, and honest measurements of them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fca-edge")
except PackageNotFoundError:
    __version__ = "0.0.0"
