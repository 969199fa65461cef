"""Signed weights are taken as they are only where the runtime's products with them are exact."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from whisperslim.engines.onnx import processor
from whisperslim.engines.onnx.processor import PROBE, signed_is_exact


def test_the_probe_is_one_product_of_integers() -> None:
    def value(name: str, kind: int) -> object:
        return helper.make_tensor_value_info(name, kind, None)

    product = helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    graph = helper.make_graph(
        [product], "p", [value("a", TensorProto.UINT8), value("b", TensorProto.INT8)],
        [value("c", TensorProto.INT32)],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=8, producer_name=""
    )
    assert model.SerializeToString() == PROBE


@pytest.mark.parametrize(("lost", "exact"), [(0, True), (1, False)])
def test_one_sum_that_is_cut_off_is_enough(
    lost: int, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Session:
        def __init__(self, model: bytes, providers: list[str]) -> None:
            assert model == PROBE

        def run(self, names: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
            found = given["a"].astype(np.int32) @ given["b"].astype(np.int32)
            found[-1, -1] -= lost
            return [found]

    monkeypatch.setattr(processor.onnxruntime, "InferenceSession", Session)
    assert signed_is_exact.__wrapped__() is exact
