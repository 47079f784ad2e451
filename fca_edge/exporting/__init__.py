"""From a network to verified ONNX and TFLite files."""
