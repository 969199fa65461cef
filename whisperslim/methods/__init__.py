"""Compression methods. Importing the package registers those that ship with it.

Only their options are loaded then; the methods themselves, and torch with them, when one is built.
"""

from typing import Any

from whisperslim.methods import plain_options, sgl_options
from whisperslim.methods.base import CompressionMethod, MethodEntry, Target, get, names, register


def _sgl(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.sgl import SparseGroupLasso

    return SparseGroupLasso(options, target)


def _plain(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.plain import Plain

    return Plain(options, target)


register("sgl", MethodEntry(sgl_options.SGLOptions, _sgl, sgl_options.SUMMARY))
register("none", MethodEntry(plain_options.PlainOptions, _plain, plain_options.SUMMARY))

__all__ = ["MethodEntry", "get", "names", "register"]
