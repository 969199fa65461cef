"""Manifests without end, of the wrong kind, or nested beyond use."""

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from whisperslim.errors import DataError
from whisperslim.speech.corpus import formats
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.speech.corpus.report import examine

HEADER = "path\ttext\n"


@pytest.mark.parametrize("name", ["manifest.tsv", "manifest.csv", "manifest.jsonl"])
def test_a_line_without_end_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1_000_000_000)  # zeros, which take no room on the disk
    tracemalloc.start()
    with pytest.raises(DataError, match="lines of up to"):
        load_items(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_file_beyond_the_bounds_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "manifest.tsv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="divide it"):
        load_items(str(path))


@pytest.mark.parametrize("name", ["m.tsv", "m.csv", "m.jsonl"])
def test_lines_are_counted(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MOST_LINES", 3)
    record = {"m.tsv": "{}\ta\n", "m.csv": "{},a\n", "m.jsonl": '{{"path": "{}", "text": "a"}}\n'}
    header = {"m.tsv": HEADER, "m.csv": HEADER.replace("\t", ","), "m.jsonl": ""}[name]
    path = tmp_path / name
    path.write_text(header + "".join(record[name].format(n) for n in range(3)))
    assert len(load_items(str(path))) == 3
    path.write_text(header + "".join(record[name].format(n) for n in range(5)))
    with pytest.raises(DataError, match="up to 3 lines"):
        load_items(str(path))


@pytest.mark.parametrize("name", ["m.tsv", "m.jsonl"])
def test_cells_are_counted(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_MOST_CELLS", 6)
    lines = {"m.tsv": "path\ttext\tx\n" + "a{}\tb\tc\n" * 3,
             "m.jsonl": '{{"path": "a{}", "text": "b", "x": "c"}}\n' * 3}  # fmt: skip
    path = tmp_path / name
    written = lines[name].format(1, 2, 3)
    path.write_text(written)
    with pytest.raises(DataError, match=f"line {4 if name == 'm.tsv' else 3}: .* up to 6 cells"):
        load_items(str(path))
    path.write_text(written[: written.rindex("\n", 0, -1) + 1])
    assert len(load_items(str(path))) == 2


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_a_clip_takes_little_more_memory_than_its_text(tmp_path: Path, suffix: str) -> None:
    """A million clips are accepted, so each may take a few hundred bytes and no thousands."""
    lines, path = 4000, tmp_path / f"manifest.{suffix}"
    columns = ("path", "text", "speaker", *(f"column {n}" for n in range(10)))
    rows = [
        (f"{n:020d}", "क" * 40 + f"{n:010d}", "the same speaker", *["as in all lines"] * 10)
        for n in range(lines)
    ]
    if suffix == "tsv":
        path.write_text("\n".join("\t".join(row) for row in (columns, *rows)), "utf-8")
    else:
        said = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        path.write_text("\n".join(said), "utf-8")
    tracemalloc.start()
    items = load_items(str(path))
    kept, _ = tracemalloc.get_traced_memory()
    examine(items)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # By hand, in bytes: 70 for the name and 174 for the text, as Python keeps them; 90 for the
    # fields and 130 for the tuple of ten other columns, whose cells are kept once.
    assert kept < lines * 600
    # Of each, that its file is missing: 64 of fields, and up to 400 of a sentence with its path.
    assert most < lines * 1600


def test_json_nested_too_deep_is_the_line_at_fault(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"path": "a", "text": "b"}\n{"path": ' + "[" * 100_000 + "\n")
    with pytest.raises(DataError, match="line 2: not JSON"):
        load_items(str(path))


def test_a_pipe_or_a_device_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.tsv")
    (tmp_path / "zero.tsv").symlink_to("/dev/zero")
    (tmp_path / "folder.tsv").mkdir()
    for name in ("manifest.tsv", "zero.tsv", "folder.tsv", "."):
        with pytest.raises(DataError):
            load_items(str(tmp_path / name))
    (tmp_path / "folder.tsv").rmdir()
    with pytest.raises(DataError, match="a pipe or a device"):
        formats.read_manifest(tmp_path / "manifest.tsv")
    (tmp_path / "clips").mkdir()
    with pytest.raises(DataError, match="a pipe or a device"):
        formats.common_voice_splits(tmp_path)
