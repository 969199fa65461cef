"""Where a derived run comes from, as stored in it. Loads no model code."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.untrusted import read_json, record_of
from whisperslim.core.plan.counting import WEIGHTS
from whisperslim.engines import registry
from whisperslim.errors import RunError
from whisperslim.jobs.run.folder import RunDir

MARKER = "derived.json"


@dataclass(frozen=True)
class Derivation:
    """Where a derived run comes from.

    Attributes:
        source: Name of the run it was derived from, in the same folder.
        weights_sha256: Of the tuned weights both share.
        removed, zeroed: Targets, shares of the tuned model's prunable weights.
        recover_steps: Training steps after the cut.
        engine: Where it will run.
        quantize: Numbers it is written in there.
        currency: What `removed` is a share of, as the recipe says.
        compensated: Clips for the fit at the cut; 0: no fit.
    """

    source: str
    weights_sha256: str
    removed: float
    zeroed: float
    recover_steps: int
    engine: str = registry.OWN
    quantize: str = "none"
    currency: str = WEIGHTS
    compensated: int = 0


def read_derivation(run: RunDir) -> Derivation | None:
    """Where a run was derived from; None for other runs. Raises `RunError` when damaged."""
    path = run.path / MARKER
    if not path.exists():
        return None
    try:
        found: Derivation = record_of(Derivation, read_json(path))
        return found
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); delete the run and derive it again"
        ) from error


def is_derived(run: RunDir) -> bool:
    """Whether a run was derived from another, as far as this can be read without opening it."""
    return (run.path / MARKER).exists()


def write_derivation(folder: Path, derivation: Derivation) -> None:
    """Store it in the run's folder."""
    write_text_atomically(folder / MARKER, json.dumps(asdict(derivation), indent=1))
