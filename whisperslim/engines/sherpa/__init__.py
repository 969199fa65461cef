"""sherpa-onnx: phones, small boards, and programs in a dozen languages."""
