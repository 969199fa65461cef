"""Engines that models run in. Importing the package registers those that ship with it.

Only their descriptions are loaded then; a runtime is loaded when a model is written for it or
opened.
"""

from whisperslim.engines.ctranslate2 import spec as ctranslate2
from whisperslim.engines.hf import spec as hf
from whisperslim.engines.onnx import spec as onnx
from whisperslim.engines.registry import register
from whisperslim.engines.sherpa import spec as sherpa
from whisperslim.engines.torch_spec import TORCH
from whisperslim.engines.web import spec as web

register(TORCH)
register(ctranslate2.SPEC)
register(onnx.SPEC)
register(hf.SPEC)
register(web.SPEC)
register(sherpa.SPEC)
