"""Names of the graphs of an ONNX export, and of what goes in and comes out of them."""

ENCODER_FILE, DECODER_FILE = "encoder.onnx", "decoder.onnx"
FRAMES_FILE = "frames.onnx"  # of a model that scores frames: one graph
FEATURES, STATES = "features", "states"
TOKENS, POSITIONS, LOGITS = "tokens", "positions", "logits"
PAST, PRESENT, CROSS = "past", "present", "cross"
QUERIES = "cross_queries"
"""Of a layer whose attention shows when words were said; read only for word times."""
