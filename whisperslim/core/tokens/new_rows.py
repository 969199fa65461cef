"""Rows of the embedding for new tokens, solved from what the model says of their pieces.

A new token's output row e should give, at each place `h` where its text begins, the logit that the
text's old pieces have together, l. With few places for a row of hundreds of numbers, e is held near
the mean of the pieces' rows, m:

    minimize  |H e - l|^2 + k |e - m|^2,    e = m + H^T (H H^T + k I)^-1 (l - H m)

with `k` a share of the mean squared length of the places. Ridge regression; that it starts tokens,
and the share, are our choice. Where input and output rows are one matrix, the decoder reads the
same row: another reason to stay near the mean.
"""

from collections.abc import Mapping

import torch

from whisperslim.core.families.hearing import PieceEvidence

_DAMP = 1.0


def solved_rows(
    means: Mapping[int, torch.Tensor], evidence: PieceEvidence, damp: float = _DAMP
) -> dict[int, torch.Tensor]:
    """A row for every new token that occurs; the others keep their mean.

    Args:
        means: New token -> the mean of its pieces' rows, `(width,)`.
        evidence: Of those tokens.
        damp: `k` over the mean squared length of all places.
    """
    if not len(evidence.tokens):
        return dict(means)
    states, wanted = evidence.states.double(), evidence.logits.double()
    held = damp * states.square().sum(1).mean()
    rows = {}
    for token, mean in means.items():
        here = evidence.tokens == token
        own, start = states[here], mean.double()
        gram = own @ own.T + held * torch.eye(len(own), dtype=own.dtype, device=own.device)
        change = own.T @ torch.linalg.solve(gram, wanted[here] - own @ start)
        rows[token] = (start + change).to(mean.dtype)
    return rows
