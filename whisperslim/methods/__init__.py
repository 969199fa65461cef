"""Compression methods. Importing the package registers those that ship with it."""

from whisperslim.methods import plain, sgl, sgl_options
from whisperslim.methods.base import MethodEntry, get, names, register

register("sgl", MethodEntry(sgl_options.SGLOptions, sgl.SparseGroupLasso, sgl.SUMMARY))
register("none", MethodEntry(plain.PlainOptions, plain.Plain, plain.SUMMARY))

__all__ = ["MethodEntry", "get", "names", "register"]
