"""When the words of a text were said, from a decoder's attention to the sound.

As OpenAI's Whisper does (whisper/timing.py): attention of some heads while each token is written,
normalized over the tokens, smoothed along the sound, averaged, and dynamic time warping through
what is left. Numpy alone, so that an export has it without torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from whisperslim.exported.ctc import Word

POSITION_SECONDS = 0.02  # of an encoder position: two frames of 10 ms
_MEDIAN_WIDTH = 7  # positions; Whisper's own
_SPACE = "Ġ"  # how a byte-level tokenizer spells a space


@dataclass(frozen=True)
class TimingHeads:
    """Where to look.

    Attributes:
        heads: (decoder layer, head) of the cross-attentions that follow the sound.
        scale: What their products of queries and keys are multiplied with.
    """

    heads: tuple[tuple[int, int], ...]
    scale: float


def attention(queries: np.ndarray, keys: np.ndarray, scale: float) -> np.ndarray:
    """Weights `(tokens, positions)` of one head: softmax over the positions.

    `queries` is `(tokens, width)`, `keys` `(positions, width)`, both float32.
    """
    products = queries @ keys.T * np.float32(scale)
    raised = np.exp(products - products.max(-1, keepdims=True))
    weights: np.ndarray = raised / raised.sum(-1, keepdims=True)
    return weights


def token_starts(weights: np.ndarray, seconds: float) -> np.ndarray:
    """When each token begins, in seconds, `(tokens,)`.

    Args:
        weights: `(heads, tokens, positions)` attention while each token was written; the last of
            them is the end of the text.
        seconds: Length of the sound; what comes after it in the window is left out.
    """
    positions = max(1, min(weights.shape[-1], round(seconds / POSITION_SECONDS)))
    heard = weights[..., :positions]
    deviation = heard.std(-2, keepdims=True)
    # One token alone deviates from nothing.
    scaled = (heard - heard.mean(-2, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    matrix = _smoothed(scaled).mean(0)
    tokens, places = warped(-matrix.astype(np.float64))
    begins = np.diff(tokens, prepend=-1) > 0
    starts: np.ndarray = places[begins] * POSITION_SECONDS
    return starts


def timed_words(
    ids: Sequence[int],
    starts: np.ndarray,
    chances: Sequence[float],
    spelled: Callable[[int], str],
    decode: Callable[[Sequence[int]], str],
) -> tuple[Word, ...]:
    """Words of a text's tokens.

    Args:
        ids: The text's tokens.
        starts: When each begins and, one more, when the text ends, in seconds.
        chances: Probability of each token as it was written.
        spelled: A token as the tokenizer spells it.
        decode: Text of tokens.
    """
    begins = [i for i, token in enumerate(ids) if i == 0 or spelled(token).startswith(_SPACE)]
    words = []
    for first, after in zip(begins, [*begins, len(ids)][1:], strict=True):
        text = decode(ids[first:after])
        if text:
            sure = float(np.mean(chances[first:after]))
            words.append(Word(text, float(starts[first]), float(starts[after]), sure))
    return tuple(words)


def warped(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest path through `cost` `(tokens, positions)`, from corner to corner.

    Steps go to the next token, the next position, or both. Returns token and position of each
    place on the path. Computed along anti-diagonals, whose elements do not depend on each other.
    """
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf, np.float32)
    step = np.full((rows + 1, columns + 1), _ALONG, np.int8)
    total[0, 0] = 0
    step[1:, 0] = _DOWN
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        both, down, along = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        chosen = np.where((down < both) & (down < along), _DOWN, _ALONG)
        chosen = np.where((both < down) & (both < along), _BOTH, chosen)
        before = np.choose(chosen, (both, down, along))
        total[i, j] = cost[i - 1, j - 1] + before
        step[i, j] = chosen
    way = []
    at, place = rows, columns
    while at > 0 and place > 0:
        way.append((at - 1, place - 1))
        taken = step[at, place]
        at -= taken != _ALONG
        place -= taken != _DOWN
    found = np.array(way[::-1])
    return found[:, 0], found[:, 1]


_BOTH, _DOWN, _ALONG = 0, 1, 2


def _smoothed(weights: np.ndarray) -> np.ndarray:
    """The median of each position and its neighbors; ends are mirrored."""
    reach = _MEDIAN_WIDTH // 2
    if weights.shape[-1] <= reach:
        return weights
    padded = np.pad(weights, ((0, 0), (0, 0), (reach, reach)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN_WIDTH, axis=-1)
    smooth: np.ndarray = np.median(windows, axis=-1)
    return smooth
