"""A new user's first run: the demo corpus, the quick preset, and what they need."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from whisperslim.jobs.recipe.recipe import Recipe, load_recipe, with_values

NAME = "try-it"
PRESET = "quick-demo"
MEASURED_SECONDS = 127.0
"""Of the quick preset, the model already fetched, on two cores with nothing else to do:
benchmarks/results/quick_preset.json."""

# Whisper-base without the tokens that Hindi does not need: the size in training and files.
_TRIMMED_PARAMETERS = 46_480_000
_BYTES = 4  # float32
_VALUES = 3  # weights, and two moments of AdamW for each
_MODELS = 4  # trimmed, tuned, cut and slim


@dataclass(frozen=True)
class TrialNeeds:
    """What the first run needs.

    Attributes:
        seconds: Measured on two cores; without the download.
        disk_bytes: The most it takes at any one time in the folder of runs.
        download_bytes: To fetch once; 0 when the model is on this machine.
        free_bytes: On the disk of the runs.
    """

    seconds: float
    disk_bytes: int
    download_bytes: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the disk has room for it."""
        return self.free_bytes >= self.disk_bytes


def trial_recipe() -> Recipe:
    """The quick preset, under a name that distinguishes its runs."""
    return with_values(load_recipe(PRESET), {"name": NAME})


def trial_needs(runs: Path, recipe: Recipe) -> TrialNeeds:
    """What the first run needs here. Nothing is fetched to find out."""
    place = next(path for path in (runs, *runs.parents) if path.is_dir())
    return TrialNeeds(
        seconds=MEASURED_SECONDS,
        disk_bytes=_disk_bytes(recipe),
        download_bytes=_download_bytes(recipe.model),
        free_bytes=shutil.disk_usage(place).free,
    )


def _disk_bytes(recipe: Recipe) -> int:
    """Checkpoints at their most, when a new one is written before the oldest is deleted; and
    models.
    """
    kept = max(recipe.train.keep_checkpoints, recipe.recover.keep_checkpoints) + 1
    return (kept * _VALUES + _MODELS) * _TRIMMED_PARAMETERS * _BYTES


def _download_bytes(model: str) -> int:
    # These take a second to import, so the page opens before. Only names are read: a checksum of
    # the weights would delay the page.
    from whisperslim.core.fetch.hub import find_in_hub_cache
    from whisperslim.core.fetch.mirror import mirror_entry
    from whisperslim.core.fetch.sources import cache_folder

    here = Path(model).expanduser().is_dir() or cache_folder(model).is_dir()
    if here or find_in_hub_cache(model) is not None:
        return 0
    entry = mirror_entry(model)
    return entry.download_bytes if entry else 0
