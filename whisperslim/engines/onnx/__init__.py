"""ONNX Runtime: graphs, export and engine."""
