"""ONNX Runtime, as the register knows it."""

from whisperslim.engines.registry import FULL, EngineSpec

SPEC = EngineSpec(
    name="onnx",
    title="ONNX Runtime",
    words="ONNX Runtime, the fastest here on CPUs",
    precisions=(FULL, "int8", "int4"),
    exporter="whisperslim.engines.onnx.export",
    opener="whisperslim.engines.onnx.engine",
    install="pip install onnx onnxruntime",
    by_family=True,
    factors=True,
    rests=("encoder.onnx", "decoder.onnx", "frames.onnx"),
    # By the times of benchmarks.systems.side_by_side, except that int4, a little faster yet, comes
    # after int8, which keeps closer to the model.
    dense={FULL: "ONNX Runtime, fp32", "int8": "ONNX Runtime, int8"},
    ranks={"int8": 1, "int4": 2, FULL: 4},
)
