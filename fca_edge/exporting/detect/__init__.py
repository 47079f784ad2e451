"""Detectors as files: an ONNX graph from picture to masks, and TFLite files around NumPy."""
