"""The web page, as the register knows it."""

from whisperslim.engines.registry import FULL, EngineSpec

SPEC = EngineSpec(
    name="web",
    title="Web page",
    words="a static page that transcribes in the browser, without a server",
    precisions=("int8", "int4", FULL),
    exporter="whisperslim.engines.web.export",
    # The graphs are those of ONNX Runtime, so that the folder can be listened to here as well.
    opener="whisperslim.engines.onnx.engine",
    install="pip install onnx onnxruntime",
    by_family=True,
    factors=True,
    runs_in="onnx",
)
