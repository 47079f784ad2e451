"""Emitter from the exported ATen program to a TFLite flatbuffer."""
