"""Which of Whisper's cross-attention heads follow the sound."""

from typing import Any

from torch import nn

from whisperslim.core.families.whisper.units import AbsentAttention, AbsentLayer
from whisperslim.exported.word_times import TimingHeads


def timing_heads(model: Any) -> TimingHeads | None:
    """The model's own list while its decoder's attention to the sound is whole.

    Which of the listed heads a cut left is not known here: a cut decoder gets all heads of the
    later half of its layers, as OpenAI's Whisper does without a list. None without any head.
    """
    crossing = crossings(model)
    if not crossing:
        return None
    config = model.config
    given = getattr(model.generation_config, "alignment_heads", None)
    whole = len(crossing) == config.decoder_layers and all(
        each.num_heads == config.decoder_attention_heads for each in crossing.values()
    )
    if given and whole:
        heads = tuple((int(layer), int(head)) for layer, head in given)
    else:
        later = [i for i in crossing if 2 * i >= config.decoder_layers] or [max(crossing)]
        heads = tuple((i, head) for i in later for head in range(crossing[i].num_heads))
    return TimingHeads(heads, float(next(iter(crossing.values())).scaling))


def crossings(model: Any) -> dict[int, Any]:
    """Decoder layer -> its attention to the sound, where there is one."""
    layers: nn.ModuleList = model.model.decoder.layers
    return {
        index: layer.encoder_attn
        for index, layer in enumerate(layers)
        if not isinstance(layer, AbsentLayer)
        and not isinstance(layer.encoder_attn, AbsentAttention)
    }
