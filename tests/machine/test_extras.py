"""What works where only the base is installed, and what a command says that needs more."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.without import run_without
from whisperslim.machine.extras import EXTRAS
from whisperslim.machine.places import PACKAGE_PARENT

LACKING = [module for modules in EXTRAS.values() for module in modules]
DEMO = PACKAGE_PARENT / "assets" / "demo_hi"


def project() -> dict[str, list[Requirement]]:
    """Extra -> what it asks for; the base by the empty name."""
    text = (PACKAGE_PARENT / "pyproject.toml").read_text("utf-8")
    table = tomllib.loads(text)["project"]
    asked = {"": table["dependencies"], **table["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in asked.items()}


def pins() -> dict[str, str]:
    """Package -> the one release of requirements.txt."""
    lines = (PACKAGE_PARENT / "requirements.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("compress quick-demo", "train"),
        ("inspect openai/whisper-base", "train"),
        (f"evaluate --model x --data {DEMO}", "train"),
        ("fetch openai/whisper-base", "train"),
        ("transcribe --model openai/whisper-base x.wav", "train"),
        ("record --list", "app"),
        ("ui", "app"),
    ],
)
def test_a_command_says_which_extra_it_needs(words: str, extra: str, tmp_path: Path) -> None:
    done = run_without(LACKING, words.split(), tmp_path)
    assert done.returncode != 0
    assert f"pip install 'whisperslim[{extra}]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())  # no run that cannot go on


@pytest.mark.parametrize("words", ["--help", "presets", "runs", f"data {DEMO}#test", "cache"])
def test_what_needs_no_extra_works_without(words: str, tmp_path: Path) -> None:
    done = run_without(LACKING, words.split(), tmp_path)
    assert done.returncode == 0, done.stderr


def test_any_release_in_a_range_may_be_installed() -> None:
    for asked in (each for extra in project().values() for each in extra):
        assert not any(part.operator == "==" for part in asked.specifier), asked
        assert asked.name == "whisperslim" or asked.specifier, f"{asked} has no lower bound"


def test_the_exact_releases_lie_in_the_ranges() -> None:
    have = pins()
    unpinned = {"desktop", "track", "scale"}  # no figure depends on these
    asked = [each for name, extra in project().items() if name not in unpinned for each in extra]
    for each in asked:
        if each.name != "whisperslim":
            assert have[each.name] in each.specifier, each
    assert have.keys() <= {each.name for each in asked}


def test_the_base_asks_for_nothing_of_an_extra() -> None:
    base = {re.sub("-", "_", each.name) for each in project()[""]}
    assert not base & set(LACKING)
