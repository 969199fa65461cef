"""A finished run on the tiny model, for the tests of what comes after training."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes import measure
from whisperslim.jobs.stages.order import work


def tiny_recipe(folder: Path, **sections: Any) -> dict[str, Any]:
    """A recipe of few steps; `sections` replace keys within the sections they name."""
    model = tiny_model_folder(folder / "model")
    corpus = tiny_corpus(folder / "corpus", clips=12)
    recipe: dict[str, Any] = {
        "name": "tiny",
        "model": str(model),
        "method": {"name": "sgl", "lambda_group_encoder": 5.0, "lambda_group_decoder": 5.0},
        "target": {"removed": 0.4, "zeroed": 0.2},
        "data": {
            "train": [f"{corpus}#train"],
            "test": [f"{corpus}#test"],
            "dev_fraction": 0.3,
            "hold_out_by": "key",
        },
        "train": {"steps": 2, "batch_size": 4, "learning_rate": 1e-3, "evaluate_every": 0},
        "recover": {"steps": 0, "batch_size": 4, "evaluate_every": 0},
        "export": {"dtype": "float32"},
        "runtime": {"device": "cpu"},
    }
    for name, values in sections.items():
        plain = not isinstance(values, dict)
        recipe[name] = values if plain else {**recipe.get(name, {}), **values}
    return recipe


def finished_run(folder: Path, **sections: Any) -> RunDir:
    """A run in `folder/runs` with every stage done."""
    run = RunDir.create(folder / "runs", from_mapping(tiny_recipe(folder, **sections)))
    work(run, lambda event: None)
    for stage in ("data", "prepare", "tune", "plan", "shrink", "recover", "evaluate"):
        assert run.stage_done(stage)
    return run


@contextmanager
def shared_run(folder: Path, **sections: Any) -> Iterator[RunDir]:
    """A finished run for all tests of a file, with a cache of their own.

    Times are taken of one clip: what they are does not matter there.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        patch.setattr(measure, "LATENCY_CLIPS", 1)
        yield finished_run(folder, **sections)


def copy_of(run: RunDir, folder: Path) -> RunDir:
    """The run alone in `folder/runs`, to be changed."""
    return RunDir(shutil.copytree(run.path, folder / "runs" / run.name))


def plain_run(folder: Path) -> RunDir:
    """A finished run of method none, as the preset dense-tuned makes them."""
    recipe = tiny_recipe(folder, target={"removed": 0.0, "zeroed": 0.0})
    run = RunDir.create(folder / "runs", from_mapping({**recipe, "method": {"name": "none"}}))
    work(run, lambda event: None)
    return run


def done_again_from_narrow(run: RunDir, place: Path) -> RunDir:
    """A copy of a finished run in `place`, done anew from stage `narrow` on."""
    again = RunDir(shutil.copytree(run.path, place / run.path.name))
    for stage in ("narrow", "tune", "plan", "shrink", "recover", "export", "evaluate"):
        (again.path / "stages" / f"{stage}.done").unlink()
    shutil.rmtree(again.path / "narrowed")
    work(again, lambda event: None)
    return again
