"""Names of the graphs of an ONNX export, and of what goes in and comes out of them."""

from dataclasses import dataclass

ENCODER_FILE, DECODER_FILE = "encoder.onnx", "decoder.onnx"
FRAMES_FILE = "frames.onnx"  # of a model that scores frames: one graph
FEATURES, STATES = "features", "states"
TOKENS, POSITIONS, LOGITS = "tokens", "positions", "logits"
PAST, PRESENT, CROSS = "past", "present", "cross"
QUERIES = "cross_queries"
"""Of a layer whose attention shows when words were said; read only for word times."""


@dataclass(frozen=True)
class StackedNames:
    """Names where the caches of all layers are one tensor; sherpa-onnx goes by their order.

    Of two, the first is of keys and the second of values.
    """

    features: str = "mel"
    past: tuple[str, str] = ("in_n_layer_self_k_cache", "in_n_layer_self_v_cache")
    present: tuple[str, str] = ("out_n_layer_self_k_cache", "out_n_layer_self_v_cache")
    heard: tuple[str, str] = ("n_layer_cross_k", "n_layer_cross_v")
    offset: str = "offset"


STACKED = StackedNames()
