"""sherpa-onnx, as the register knows it."""

from whisperslim.engines.registry import FULL, EngineSpec

SPEC = EngineSpec(
    name="sherpa",
    title="sherpa-onnx",
    words="phones, small boards and programs in many languages",
    precisions=("int8", "int4", FULL),
    exporter="whisperslim.engines.sherpa.export",
    # ONNX Runtime runs the graphs here as well; the app and the commands need no sherpa-onnx.
    opener="whisperslim.engines.sherpa.engine",
    install="pip install onnx onnxruntime",
    by_family=True,
    factors=True,
    rests=("tokens.txt",),
    runs_in="onnx",
)
