"""PyTorch, which runs a slim folder as it is."""

from whisperslim.engines.registry import FULL, OWN, EngineSpec

TORCH = EngineSpec(
    name=OWN,
    title="PyTorch",
    words="PyTorch, which runs the slim folder itself",
    install="pip install 'whisperslim[train]'",
    ranks={FULL: 6},
    dense={FULL: "transformers, fp32"},
    factors=True,
)
