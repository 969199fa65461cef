"""The verdict on a finished run, from its folder; also for runs of earlier versions.

Loads neither torch nor a model.
"""

from typing import Any

from whisperslim.core.disk.untrusted import read_json
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.scoring.texts import texts_of
from whisperslim.speech.scoring.verdict import Verdict, judge_set, set_verdict

Texts = dict[str, tuple[str, str]]
"""Key -> reference and hypothesis."""


def run_verdicts(run: RunDir) -> dict[str, Verdict]:
    """Test set -> slim against dense on it; empty until both were scored.

    Raises `OSError`, `ValueError`, `KeyError` or `TypeError` when the folder is damaged,
    `DataError` when the two have texts of different clips.
    """
    if not run.eval_path("difference").is_file():
        return {}
    language, found = language_of(run), {}
    dense, slim = texts_by_key(run, "dense"), texts_by_key(run, "slim")
    for data in _read(run, "difference"):
        # As a .tsv keeps a key.
        start = f"{' '.join(data.split())}:"
        keys = [key for key in slim if key in dense and key.startswith(start)]
        said = [slim[key][0] for key in keys]
        before, after = (
            judge_set(said, [texts[key][1] for key in keys], language) for texts in (dense, slim)
        )
        found[data] = set_verdict(before, after)
    return found


def texts_by_key(run: RunDir, label: str) -> Texts:
    """Key -> reference and hypothesis of a model's evaluation; empty when it was not scored."""
    path = run.eval_path(label).with_suffix(".tsv")
    if not path.exists():
        return {}
    return {key: (reference, heard) for key, reference, heard in texts_of(path, run.path)}


def language_of(run: RunDir) -> str:
    """The language that the slim model was scored in. Raises as `run_verdicts`."""
    sets = _read(run, "slim")["sets"]
    return str(next(iter(sets.values()))["language"])


def _read(run: RunDir, label: str) -> Any:
    return read_json(run.eval_path(label), run.path)
