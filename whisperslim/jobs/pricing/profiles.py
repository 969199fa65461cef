"""Profiles of engines on this machine: where they are kept, and the one that fits a model.

One file a machine and engine, `profiles/<machine>-<engine>.json` in the cache, with a profile for
every kind of numbers and every width of model that was measured.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import json_of
from whisperslim.core.families import UnitGroup
from whisperslim.engines import registry
from whisperslim.engines.timing.profile import Profile
from whisperslim.errors import PlanError, UsageError
from whisperslim.jobs.run.disk import require_writable, write_text_checked
from whisperslim.jobs.run.environment import describe
from whisperslim.machine.places import cache_root

FORMAT = 1


def profile_path(engine: str) -> Path:
    """The file of an engine on this machine."""
    facts = describe()
    name = re.sub(r"[^a-z0-9]+", "-", f"{facts['cpu']}".lower()).strip("-")
    return cache_root() / "profiles" / f"{name}-{facts['cores']}cores-{engine}.json"


def save_profile(profile: Profile) -> Path:
    """Store a profile in place of an earlier one of the same kind. Returns its file.

    Raises `RunError` when it cannot be written, `PlanError` when the file there is damaged;
    `check_kept` reports both before.
    """
    path = profile_path(profile.engine)
    others = [each for each in _read(path) if _kind(each) != _kind(profile)]
    record = {"format": FORMAT, "profiles": [asdict(each) for each in (*others, profile)]}
    write_text_checked(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return path


def check_kept(engine: str) -> None:
    """Raise as `save_profile` would, before measuring for minutes."""
    path = profile_path(engine)
    require_writable(path)
    _read(path)


def find_profile(engine: str, quantize: str, groups: Sequence[UnitGroup]) -> Profile:
    """The profile of an engine that prices the units of a model.

    Raises:
        PlanError: there is none on this machine; the message has the command to make one.
    """
    runs_in = registry.get(engine).runs_in or engine
    # In PyTorch a model computes in float32, whatever its stored format.
    numbers = registry.FULL if runs_in == registry.OWN else quantize
    path = profile_path(runs_in)
    for profile in _read(path):
        if profile.quantize == numbers and profile.fits(groups):
            return profile
    raise PlanError(
        f"no times are measured in {runs_in} ({numbers}) for this width of model on this "
        f"machine ({path}); measure them with `whisperslim profile --engine {runs_in} "
        f"--quantize {numbers} --model MODEL`, where MODEL is the one the run began with"
    )


def check_profiled(engine: str, quantize: str) -> None:
    """Raise `UsageError` unless an engine with this number format can be measured."""
    spec = registry.get(engine)
    if spec.runs_in:
        raise UsageError(f"{engine} runs in {spec.runs_in}; profile that engine")
    if quantize not in spec.precisions:
        known = ", ".join(spec.precisions)
        raise UsageError(f"{engine} has no {quantize!r}; choose one of: {known}")


def _kind(profile: Profile) -> tuple[Any, ...]:
    return profile.engine, profile.quantize, dict(profile.weights_per_unit)


def _read(path: Path) -> list[Profile]:
    if not path.is_file():
        return []
    try:
        record = json_of(path.read_bytes())
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, not {FORMAT}")
        return [_profile(each) for each in record["profiles"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise PlanError(
            f"{path} cannot be read ({error}); delete it and measure again with "
            "`whisperslim profile`"
        ) from error


def _profile(raw: dict[str, Any]) -> Profile:
    measured = {name: (full, less) for name, (full, less) in raw["measured"].items()}
    return Profile(**{**raw, "measured": measured, "lost_in_noise": tuple(raw["lost_in_noise"])})
