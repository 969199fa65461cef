"""A static web page with the model in it: ONNX Runtime Web, in the browser of whoever opens it."""
