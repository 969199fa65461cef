"""Whisper's encoder and its CTC head as one graph: features in, scores of frames out."""

from whisperslim.core.families.whisper.onnx import GraphBuilder, write_states
from whisperslim.core.families.whisper_ctc.architecture import WhisperForCTC
from whisperslim.exported.names import LOGITS, STATES


def write_frames(model: WhisperForCTC, to: GraphBuilder) -> None:
    """Log-mel `features` `(1, n_mels, frames)` -> `states` and `logits` `(1, scored, vocabulary)`.

    Frames are even. States are `(1, frames / 2, d_model)`.
    """
    width, pool = int(model.config.d_model), int(model.config.pool)
    x = write_states(model, to)
    to.output(x, STATES, (1, "positions", width))
    if pool > 1:
        x = _pooled(to, x, width, pool)
    logits = to.product(x, "head", model.head.weight, model.head.bias)
    to.output(logits, LOGITS, (1, "scored", int(model.head.out_features)))


def _pooled(to: GraphBuilder, x: str, width: int, pool: int) -> str:
    """Means of neighbors; positions left over at the end are dropped."""
    (length,) = to.node("Shape", x, start=1, end=2)
    (groups,) = to.node("Div", length, to.numbers(pool))
    (whole,) = to.node("Mul", groups, to.numbers(pool))
    (x,) = to.node("Slice", x, to.numbers(0), whole, to.numbers(1))
    (x,) = to.node("Reshape", x, to.numbers(1, -1, pool, width))
    return to.node("ReduceMean", x, to.numbers(2), keepdims=0)[0]
