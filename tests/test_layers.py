"""The direction of imports, and what only certain places may name.

Violations are named as `file:line`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "whisperslim"
LEAVES = {"errors", "events", "fields", "inputs", "offline", "places", "scripts"}
MAY_IMPORT = {
    "errors": set(),
    "events": set(),
    "inputs": set(),
    "places": set(),
    "offline": set(),
    "scripts": set(),
    "fields": {"errors"},
    "speech": {"errors", "fields", "inputs", "places", "scripts"},
    "core": LEAVES,
    "methods": {"core", *LEAVES},
    "engines": {"core", "speech", *LEAVES},
    "train": {"methods", "core", "speech", *LEAVES},
    "jobs": {"train", "engines", "methods", "core", "speech", *LEAVES},
    "ui": {"jobs", "train", "engines", "methods", "core", "speech", *LEAVES},
    "commands": {"ui", "jobs", "train", "engines", "methods", "core", "speech", *LEAVES},
    "cli": {"commands", "errors"},
    "__main__": {"cli"},
    "__init__": set(),
}
ARCHITECTURE_NAMES = {
    "encoder_attn", "fc1", "fc2", "k_proj", "out_proj", "q_proj", "self_attn", "v_proj",
}  # fmt: skip


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def dotted(path: Path) -> str:
    names = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(names).removesuffix(".__init__")


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its direction"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def docstrings(tree: ast.Module) -> set[int]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Attribute names, and the dotted components of strings that are not documentation."""
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            yield from ((node.lineno, word) for word in str(node.value).split("."))


def test_imports_point_one_way() -> None:
    wrong = []
    for path, tree in sources():
        part = part_of(path)
        for line, name in imported(tree):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            allowed = {part, "__version__", *MAY_IMPORT[part]}
            if package == "whisperslim" and target not in allowed:
                wrong.append(f"{path}:{line}: {part} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_imports_run_in_a_circle() -> None:
    """Those inside functions and those for types count as well."""
    trees = {dotted(path): tree for path, tree in sources()}
    needs = {
        name: {
            full if full in trees else full.rpartition(".")[0] for _, full in imported(tree)
        } & trees.keys()
        for name, tree in trees.items()
    }  # fmt: skip
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


def test_only_the_app_knows_gradio() -> None:
    wrong = [
        f"{path}:{line}: imports {name}"
        for path, tree in sources()
        for line, name in imported(tree)
        if name.partition(".")[0] == "gradio" and part_of(path) != "ui"
    ]
    assert not wrong, "\n".join(wrong)


def test_only_families_name_the_modules_of_an_architecture() -> None:
    families = PACKAGE / "core" / "families"
    wrong = [
        f"{path}:{line}: names {word}"
        for path, tree in sources()
        for line, word in words(tree)
        if word in ARCHITECTURE_NAMES and families not in path.parents
    ]
    assert not wrong, "\n".join(wrong)


def test_importing_the_package_and_asking_for_help_is_light() -> None:
    code = (
        "import sys, whisperslim, whisperslim.cli\n"
        "heavy = {'torch', 'transformers', 'librosa', 'gradio', 'scipy', 'av'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"loaded by `import whisperslim.cli`: {done.stderr}"
