"""Common Voice at the Mozilla Data Collective, against answers as its server gives them."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.speech.corpus.archives.making import heard, tone, wav
from tests.speech.corpus.remote.server import Server
from whisperslim.errors import DataError, UsageError
from whisperslim.speech.corpus.clip_reader import ClipReader
from whisperslim.speech.corpus.dataset import load_items, scored_source
from whisperslim.speech.corpus.source import Source, parse_source

ID = "cminc35no007no707hql26lzk"
SOURCE = f"mdc:{ID}#train"
TABLE = "client_id\tpath\tsentence\ns1\t0.mp3\tएक\n".encode()
FILES = {"cv/hi/train.tsv": TABLE, "cv/hi/clips/0.mp3": wav(tone(0))}


def archive(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
        for info in more:
            made.addfile(info)
    return buffer.getvalue()


@pytest.fixture
def release(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("MDC_API_KEY", "key")
    server.token = "key"
    answer(server, archive(FILES))
    return server


def answer(server: Server, content: bytes) -> None:
    plan = {"downloadUrl": f"{server.url}/signed?x=1", "sizeBytes": str(len(content))}
    plan |= {"filename": "cv-hi.tar.gz", "checksum": hashlib.sha256(content).hexdigest()}
    server.answers |= {
        f"POST /mdc/datasets/{ID}/download": (200, plan),
        "GET /signed?x=1": content,
    }
    server.open = {"GET /signed?x=1"}


def test_a_release_is_fetched_unpacked_and_read_once(release: Server, tmp_path: Path) -> None:
    (item,) = load_items(SOURCE)
    assert (item.text, item.speaker, item.split) == ("एक", "s1", "train")
    assert heard(ClipReader().samples(item)) == [100]
    assert [said for _, said, _ in release.asked] == ["Bearer key", ""]  # none to the other server
    release.asked.clear()
    assert load_items(SOURCE) == [item] and not release.asked
    assert [path.name for path in (tmp_path / "cache" / "mdc").iterdir() if path.is_dir()] == [ID]
    assert not list((tmp_path / "cache" / "mdc").glob("*.tar.gz"))


def test_without_a_key_or_with_another_it_is_said(
    release: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDC_API_KEY", "old")
    with pytest.raises(DataError, match="MDC_API_KEY is not valid"):
        load_items(SOURCE)
    monkeypatch.delenv("MDC_API_KEY")
    release.asked.clear()
    with pytest.raises(DataError, match=f"needs a key.*accept the conditions on .*{ID}"):
        load_items(SOURCE)
    assert not release.asked


@pytest.mark.parametrize(
    ("status", "words"), [(403, "accept the conditions"), (404, "check the id"), (500, "try again")]
)
def test_what_is_refused_is_explained(release: Server, status: int, words: str) -> None:
    release.answers[f"POST /mdc/datasets/{ID}/download"] = (status, {"message": "no"})
    with pytest.raises(DataError, match=words):
        load_items(SOURCE)


def test_an_interrupted_download_is_continued(release: Server) -> None:
    release.breaks = [100, *[0] * 5]
    with pytest.raises(DataError, match="the next attempt continues"):
        load_items(SOURCE)
    release.asked.clear()
    assert len(load_items(SOURCE)) == 1
    assert [stretch for _, _, stretch in release.asked] == ["", "bytes=100-"]


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc"
    return info


@pytest.mark.parametrize("bad", [tarfile.TarInfo("../x"), tarfile.TarInfo("/x"), link("cv/x")])
def test_nothing_leads_out_of_the_folder(
    release: Server, tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    answer(release, archive(FILES, bad))
    with pytest.raises(DataError, match="is a link, or leads out"):
        load_items(SOURCE)
    assert not [path for path in (tmp_path / "cache" / "mdc").iterdir() if path.is_dir()]


def test_what_is_no_release_is_refused(release: Server) -> None:
    answer(release, b"no archive")
    with pytest.raises(DataError, match="is damaged"):
        load_items(SOURCE)
    answer(release, archive({"a/clips/x": b"", "b/clips/x": b""}))
    with pytest.raises(DataError, match="needs one Common Voice release folder"):
        load_items(SOURCE)


def test_names(release: Server) -> None:
    assert parse_source(f"{SOURCE}?text=sentence") == Source(f"mdc:{ID}", "train", "sentence")
    assert scored_source(f"mdc:{ID}") == f"mdc:{ID}#test"
    for wrong in ("mdc:", "mdc:../x", "mdc:a/b", f"mdc:{ID}#../x", f"mdc:{ID}#"):
        with pytest.raises(UsageError, match="write mdc:ID#SPLIT"):
            load_items(wrong)
    assert not release.asked
