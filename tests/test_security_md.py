"""SECURITY.md promises nothing that no test holds it to."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def functions_of(file: Path) -> set[str]:
    """Names of the test functions of a file."""
    tree = ast.parse(file.read_text("utf-8"))
    return {
        each.name
        for each in tree.body
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
        and each.name.startswith("test_")
    }


@pytest.mark.parametrize(("file", "name"), sorted(set(_NAMED.findall(PAGE))))
def test_the_named_tests_are_there(file: str, name: str) -> None:
    assert (ROOT / file).is_file()
    found = functions_of(ROOT / file)
    assert name in found if name else found


def rows() -> list[str]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return lines[1:]  # the first has the titles


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row.split("|")[2].strip()))
def test_each_promise_names_its_test(row: str) -> None:
    assert _NAMED.search(row.split("|")[3]), row


# What would run or build whatever a file says -> the argument that keeps it from that.
_READERS = {
    ("np", "load"): ("allow_pickle", False),
    ("numpy", "load"): ("allow_pickle", False),
    ("torch", "load"): ("weights_only", True),
}
_UNPACKERS = {"zipfile", "tarfile", "shelve", "marshal", "pickle", "dill", "joblib"}
# Packages whose checksum is known; the look into a checkpoint's archive, which unpacks nothing; and
# archives of recordings, of which plain members are read one by one, within bounds.
_MAY_UNPACK = {
    "core/fetch/wheels.py", "engines/web/runtime_files.py", "core/store/state_file.py",
    "speech/corpus/archives/tar.py", "speech/corpus/remote/mozilla.py",
}  # fmt: skip


def calls(tree: ast.AST) -> Iterator[tuple[tuple[str, str], ast.Call]]:
    for each in ast.walk(tree):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            owner = each.func.value
            yield (owner.id if isinstance(owner, ast.Name) else "", each.func.attr), each


def imported(tree: ast.AST) -> Iterator[str]:
    for each in ast.walk(tree):
        if isinstance(each, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.module:
            yield each.module.partition(".")[0]


def test_nothing_that_was_sent_is_unpickled_unpacked_or_built() -> None:
    package, seen = ROOT / "whisperslim", 0
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package).as_posix()
        tree = ast.parse(file.read_text("utf-8"))
        if place not in _MAY_UNPACK:
            assert not _UNPACKERS & set(imported(tree)), place
        for call, node in calls(tree):
            assert call not in {("yaml", "unsafe_load"), ("yaml", "full_load")}, place
            assert call[1] != "unpack_archive", place
            if call in _READERS:
                name, wanted = _READERS[call]
                given = {each.arg: each.value for each in node.keywords}
                said = given.get(name)
                assert isinstance(said, ast.Constant) and said.value is wanted, (place, node.lineno)
                seen += 1
            if call == ("yaml", "load"):  # `yaml_of` is given a loader made of the safe one
                assert place == "core/disk/untrusted.py", place
    assert seen >= 4
