"""Folders for transformers, as the register knows them."""

from whisperslim.engines.registry import FULL, OWN, EngineSpec

SPEC = EngineSpec(
    name="hf",
    title="transformers folder",
    words="a folder that transformers loads by itself",
    precisions=(FULL, "float16"),
    exporter="whisperslim.engines.hf.export",
    install="pip install transformers",
    by_family=True,
    factors=True,
    ranks={FULL: 7},
    runs_in=OWN,
    shared=True,
)
