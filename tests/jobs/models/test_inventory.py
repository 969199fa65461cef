"""What models are listed, and what is read to list them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models.shelf import export_folder, model_folder, slim_run
from whisperslim.core import families
from whisperslim.jobs.models.inventory import (
    DOWNLOAD,
    EXPORT,
    SLIM,
    SOURCES,
    SUPPORTED,
    ModelEntry,
    SetScore,
    inventory,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_here_is_an_empty_list(tmp_path: Path, cache: Path) -> None:
    assert inventory(tmp_path / "runs") == []


def test_a_slim_model_is_listed_with_what_its_run_knows(tmp_path: Path, cache: Path) -> None:
    run = slim_run(tmp_path / "runs", "20260101-000000-a", elements=500)
    (entry,) = inventory(run.path.parent)
    on_disk = sum(file.stat().st_size for file in run.slim_path.iterdir())
    assert on_disk > 1000
    assert (entry.name, entry.kind, entry.path, entry.bytes) == (
        run.name, SLIM, run.slim_path, on_disk,
    )  # fmt: skip
    assert (entry.engine, entry.precision, entry.languages) == ("torch", "fp16", ("hi",))
    assert entry.made_from == "openai/whisper-base, untuned"
    assert entry.scores == (SetScore("corpus#test", 12, "hindi-1", 0.25),), "the last normalizer"
    assert entry.problem == "" and entry.run == run.name
    assert json.loads(json.dumps(entry.to_record()))["path"] == str(run.slim_path)


def test_a_trimmed_model_is_of_the_languages_that_were_kept(tmp_path: Path, cache: Path) -> None:
    run = slim_run(tmp_path / "runs", "20260101-000000-a")
    file = run.slim_path / "slim.json"
    kept = {"dense_size": 9, "size": 5, "languages": ["hi", "mr"], "timestamps": False, "added": 0}
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocabulary": kept}))
    run.eval_path("slim").unlink()
    (entry,) = inventory(run.path.parent)
    assert entry.languages == ("hi", "mr") and entry.scores == ()


def test_a_record_without_a_language_is_read_as_before(tmp_path: Path, cache: Path) -> None:
    run = slim_run(tmp_path / "runs", "20260101-000000-a")
    file = run.slim_path / "slim.json"
    record = json.loads(file.read_text())
    del record["language"], record["vocabulary"]
    file.write_text(json.dumps(record))
    folder = export_folder(run.path / "export" / "onnx-int8")
    export = json.loads((folder / "export.json").read_text())
    del export["language"]
    (folder / "export.json").write_text(json.dumps(export))
    assert [(each.languages, each.problem) for each in inventory(run.path.parent)] == [((), "")] * 2


def test_exports_and_downloads_are_listed_too(tmp_path: Path, cache: Path) -> None:
    run = slim_run(tmp_path / "runs", "20260101-000000-a")
    made = export_folder(run.path / "export" / "onnx-int8", run.name)
    (run.path / "export" / ".onnx-none-abcdefgh").mkdir()  # being written
    export_folder(cache / "engines" / "0123-onnx-int8", "openai/whisper-base")
    model_folder(cache / "models" / "openai--whisper-base")
    (cache / "models" / ".openai--whisper-base-abcdefgh").mkdir()
    found = inventory(run.path.parent)
    assert [(each.kind, each.name) for each in found] == [
        (SLIM, run.name),
        (EXPORT, f"{run.name}/onnx-int8"),
        (EXPORT, "0123-onnx-int8"),
        (DOWNLOAD, "openai/whisper-base"),
    ]
    _, export, _, download = found
    assert (export.engine, export.precision, export.made_from) == ("onnx", "int8", run.name)
    assert export.path == made and export.languages == ("hi",) and export.scores == ()
    assert download.made_from == "put there by hand" and download.precision == "fp16"
    assert [each.problem for each in found] == [""] * 4


def test_what_cannot_be_used_is_listed_with_the_reason(tmp_path: Path, cache: Path) -> None:
    runs = tmp_path / "runs"
    garbage, linked, alien, cut = (slim_run(runs, f"20260101-00000{i}-a") for i in range(4))
    (garbage.slim_path / "slim.json").write_text("[" * 100)
    (linked.slim_path / "more").symlink_to("/etc/passwd")
    (alien.slim_path / "config.json").write_text('{"model_type": "bert"}')
    with (cut.slim_path / "model.safetensors").open("r+b") as file:
        file.truncate(20)
    (garbage.path / "export" / "half").mkdir(parents=True)
    broken = export_folder(cut.path / "export" / "onnx-int8")
    (broken / "decoder.onnx").unlink()
    (cache / "models" / "a--b").mkdir(parents=True)
    fetched = model_folder(cache / "models" / "c--d")
    (fetched / "source.json").write_text("{}")
    problems = {entry.path: entry.problem for entry in inventory(runs)}
    assert "slim.json cannot be read" in problems[garbage.slim_path]
    assert "is a link" in problems[linked.slim_path]
    assert "'bert' are not supported" in problems[alien.slim_path]
    assert problems[cut.slim_path]
    assert "incomplete" in problems[garbage.path / "export" / "half"]
    assert "the export is incomplete" in problems[broken]
    assert "config.json" in problems[cache / "models" / "a--b"]
    assert "source.json cannot be read" in problems[fetched]


def test_a_damaged_score_is_the_reason_of_its_row_alone(tmp_path: Path, cache: Path) -> None:
    first, second = (slim_run(tmp_path / "runs", f"20260101-00000{i}-a") for i in range(2))
    first.eval_path("slim").write_text('{"sets": {"a": {"scores": {}}}}')
    assert [bool(each.problem) for each in inventory(first.path.parent)] == [False, True]
    assert second.path.is_dir()


def test_another_place_of_models_joins_by_one_line(tmp_path: Path, cache: Path) -> None:
    boxed = ModelEntry("whisperslim/base-hi", "built in", tmp_path)
    assert inventory(tmp_path / "runs", (*SOURCES, lambda runs: [boxed])) == [boxed]


def test_types_that_are_known_are_those_of_the_families() -> None:
    for name in SUPPORTED:
        families.family_named(name)
    assert set(SUPPORTED) == set(families._FAMILIES)


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="Linux counts what is read")
def test_two_hundred_models_are_listed_without_their_weights(tmp_path: Path, cache: Path) -> None:
    runs = tmp_path / "runs"
    for number in range(150):
        slim_run(runs, f"20260101-{number:06d}-a", elements=50_000_000)
    for number in range(50):
        model_folder(cache / "models" / f"a--{number}", elements=50_000_000)
    before = _bytes_read()
    found = inventory(runs)
    read = _bytes_read() - before
    assert len(found) == 200 and not any(entry.problem for entry in found)
    assert sum(entry.bytes for entry in found) > 200 * 100_000_000
    assert read < 100_000_000, "not one model's weights were read"


def test_listing_loads_no_torch() -> None:
    code = (
        "import sys, whisperslim.jobs.models.inventory as i\n"
        "from pathlib import Path\n"
        "i.inventory(Path('nowhere'))\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])
