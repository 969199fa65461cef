"""What an installation takes is counted from its files, and a process by what it holds itself."""

import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from benchmarks.systems import light

HELD = 60_000_000


def install(site: Path, name: str, files: dict[str, int]) -> None:
    """A package as pip leaves it: its files, and the list of them."""
    about = site / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    rows = [f"{file},," for file in files] + ["lost.py,,"]
    (about / "RECORD").write_text("\n".join(rows) + "\n")
    for file, size in files.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_bytes(bytes(size))


def test_a_package_is_the_sum_of_the_files_that_are_there(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    install(site, "pip", {"pip/__init__.py": 9})
    install(site, "small", {"small.py": 100, "__pycache__/small.pyc": 30, "../../../bin/small": 7})
    (package,) = light.Environment(tmp_path, frozenset({"pip"})).packages()
    assert (package.name, light.bytes_of(package)) == ("small", 137)
    assert {each.name for each in distributions(path=[str(site)])} == {"pip", "small"}


def test_the_peak_is_that_of_the_command_and_not_of_whoever_starts_it() -> None:
    held = bytearray(b"x" * HELD)
    small = light.peak_of([sys.executable, "-I", "-c", "pass"])
    large = light.peak_of([sys.executable, "-I", "-c", f"bytearray(b'x') * {HELD}"])
    assert 1e6 < small < len(held) < large


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(SystemExit, match="exit code 3"):
        light.peak_of([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(SystemExit, match="exit code 0 and wrote ''"):
        light.seconds_to_text([sys.executable, "-c", "pass"])
