"""Low-rank factors by Fisher information: one decision, when the stage is done.

Units are the components that `surgery.low_rank` opens linear layers into: directions of a layer's
output, by the covariance of that output (DRONE; SVD-LLM, arXiv 2403.07378). Dropping one costs
exactly its variance in output error. How much of it the loss feels is another matter in every
layer, and variances of two layers cannot be compared: so each component is ranked as a head or an
FFN unit is by `fisher`, by the Fisher information of a gate on it (Theis et al., arXiv 1801.05787),
per weight that it saves. Global ranks from losses are also in ZS-SVD (arXiv 2602.02848), to first
order and with signs; Fisher information for it is our choice.
"""

from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.low_rank.options import LowRankOptions
from whisperslim.methods.magnitude.method import by_fisher
from whisperslim.methods.magnitude.options import FisherOptions
from whisperslim.methods.magnitude.rounds import MaskedPruning


def low_rank(options: LowRankOptions, target: Target) -> MaskedPruning:
    """As `fisher` decides, of components.

    Raises:
        PlanError: the target asks for zeros, which what is left of a layer need not have.
    """
    if target.zeroed:
        raise PlanError("method low_rank zeroes nothing; set target.zeroed to 0")
    return by_fisher(FisherOptions(clips=options.clips), target)
