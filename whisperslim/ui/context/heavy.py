"""The libraries of models, imported in one place.

Two threads that import parts of transformers for the first time at once, in different orders, can
see it half made: "cannot import name ...". A module's own import is locked, so code that needs them
imports this first, inside a function.
"""

from whisperslim.core import loading as loading
from whisperslim.engines import torch_engine as torch_engine
