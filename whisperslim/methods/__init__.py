"""Compression methods. Importing the package registers those that ship with it.

Only their options are loaded then; a method itself, and torch with it, is loaded when it is built.
"""

from typing import Any

from whisperslim.methods import plain_options
from whisperslim.methods.any_depth import options as any_depth_options
from whisperslim.methods.base import (
    CompressionMethod,
    MethodEntry,
    Target,
    get,
    names,
    register,
    titled,
    unregister,
)
from whisperslim.methods.l0 import options as l0_options
from whisperslim.methods.layer_drop import options as layer_drop_options
from whisperslim.methods.low_rank import options as low_rank_options
from whisperslim.methods.magnitude import options as magnitude_options
from whisperslim.methods.pinching import options as self_pinching_options
from whisperslim.methods.sgl import options as sgl_options


def _sgl(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.sgl.method import SparseGroupLasso

    return SparseGroupLasso(options, target)


def _l0_distill(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.l0.method import L0Distill

    return L0Distill(options, target)


def _one_shot(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.magnitude.method import one_shot

    return one_shot(options, target)


def _fisher(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.magnitude.method import by_fisher

    return by_fisher(options, target)


def _low_rank(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.low_rank.method import low_rank

    return low_rank(options, target)


def _any_depth(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.any_depth.method import AnyDepth

    return AnyDepth(options, target)


def _imp(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.magnitude.method import iterative

    return iterative(options, target)


def _random(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.magnitude.method import random

    return random(options, target)


def _layer_drop(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.layer_drop.method import LayerDrop

    return LayerDrop(options, target)


def _self_pinching(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.pinching.method import SelfPinching

    return SelfPinching(options, target)


def _plain(options: Any, target: Target) -> CompressionMethod:
    from whisperslim.methods.plain import Plain

    return Plain(options, target)


register(
    "sgl",
    MethodEntry(sgl_options.SGLOptions, _sgl, sgl_options.SUMMARY, "Sparse Group LASSO"),
)
register(
    "l0_distill",
    MethodEntry(
        l0_options.L0Options, _l0_distill, l0_options.SUMMARY, "L0 masks, layers distilled"
    ),
)
register(
    "self_pinching",
    MethodEntry(
        self_pinching_options.SelfPinchingOptions,
        _self_pinching,
        self_pinching_options.SUMMARY,
        "Self-pinching gates",
    ),
)
register(
    "one_shot",
    MethodEntry(
        magnitude_options.OneShotOptions,
        _one_shot,
        magnitude_options.ONE_SHOT_SUMMARY,
        "Magnitude, at once",
    ),
)
register(
    "fisher",
    MethodEntry(
        magnitude_options.FisherOptions,
        _fisher,
        magnitude_options.FISHER_SUMMARY,
        "Fisher and a fit, no training",
    ),
)
register(
    "low_rank",
    MethodEntry(
        low_rank_options.LowRankOptions,
        _low_rank,
        low_rank_options.SUMMARY,
        "Low-rank factors, no training",
        components=True,
    ),
)
register(
    "any_depth",
    MethodEntry(
        any_depth_options.AnyDepthOptions,
        _any_depth,
        any_depth_options.SUMMARY,
        "Layers on demand",
    ),
)
register(
    "imp",
    MethodEntry(
        magnitude_options.IMPOptions, _imp, magnitude_options.IMP_SUMMARY, "Magnitude, in rounds"
    ),
)
register(
    "random",
    MethodEntry(
        magnitude_options.RandomOptions, _random, magnitude_options.RANDOM_SUMMARY, "Random"
    ),
)
register(
    "layer_drop",
    MethodEntry(
        layer_drop_options.LayerDropOptions, _layer_drop, layer_drop_options.SUMMARY, "Layer drop"
    ),
)
register(
    "none",
    MethodEntry(plain_options.PlainOptions, _plain, plain_options.SUMMARY, "No compression"),
)

__all__ = ["MethodEntry", "get", "names", "register", "titled", "unregister"]
