"""Recordings decoded once: the same samples whatever the cache holds, and no work lost to it."""

import errno
import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whisperslim.errors import AudioError, UsageError
from whisperslim.speech.audio.decoding import of_data_set
from whisperslim.speech.corpus import audio_cache, clip_reader
from whisperslim.speech.corpus.audio_cache import AudioCache, cache_limit, cache_use, clear_cache
from whisperslim.speech.corpus.dataset import Item, load_items

DEMO = Path(__file__).parents[3] / "assets" / "demo_hi"


def rounded(audio: np.ndarray) -> np.ndarray:
    """To multiples of 1/32768, the highest of which is 32767/32768."""
    return np.minimum(np.round(audio.astype(np.float64) * 32768), 32767) / 32768


@pytest.fixture
def clip() -> Item:
    return load_items(str(DEMO))[0]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Recordings decoded, in order."""
    found: list[Path] = []
    monkeypatch.setattr(clip_reader, "of_data_set", lambda p: found.append(p) or of_data_set(p))
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files read in full, in order."""
    found: list[Path] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: found.append(self) or read(self))
    return found


def copies(folder: Path, count: int) -> list[Item]:
    """Different recordings of about one length, 8-bit WAV."""
    folder.mkdir()
    found = []
    for index in range(count):
        data = bytes([128 + index, 128 - index]) * 8000
        head = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\1\0\1\0"
        rate = (16_000).to_bytes(4, "little")
        sound = head + rate + rate + b"\1\0\x08\0data" + len(data).to_bytes(4, "little") + data
        (folder / f"{index}.wav").write_bytes(sound)
        found.append(Item(str(index), f"{index}.wav", "", folder=folder))
    return found


def samples_of(folder: Path, item: Item) -> Path:
    digest = hashlib.sha256(item.path.read_bytes()).hexdigest()
    return folder / digest[:2] / f"{digest}-{audio_cache.DECODER_VERSION}.npy"


def test_a_clip_is_decoded_once_also_for_the_next_process(
    tmp_path: Path, clip: Item, seen: list[Path]
) -> None:
    loads = [AudioCache(tmp_path).load(clip) for _ in range(2)]
    assert len(seen) == 1
    for samples in loads:
        assert samples.dtype == np.float32 and samples.flags.writeable
        np.testing.assert_array_equal(samples, rounded(of_data_set(clip.path)))


def test_sixteen_bits_are_kept_exactly_and_full_scale_does_not_turn_over(
    tmp_path: Path, clip: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.array([-32768, -32767, -1, 0, 1, 32767], dtype=np.float32) / 32768
    between = np.array([1.0, -1.0, 0.4 / 32768, -0.6 / 32768], dtype=np.float32)
    monkeypatch.setattr(clip_reader, "of_data_set", lambda path: np.concatenate([whole, between]))
    wanted = [*whole.tolist(), 32767 / 32768, -1.0, 0.0, -1 / 32768]
    for _ in range(2):
        assert AudioCache(tmp_path).load(clip).tolist() == wanted


def test_a_minute_takes_what_16_bits_take(tmp_path: Path, clip: Item) -> None:
    samples = AudioCache(tmp_path).load(clip)
    (stored,) = tmp_path.rglob("*.npy")
    # Two bytes a sample, 128 of .npy's own, 4 of the checksum.
    assert stored.stat().st_size == 2 * len(samples) + 132


def test_the_cache_goes_by_content_and_not_by_name(
    tmp_path: Path, clip: Item, seen: list[Path]
) -> None:
    cache, moved = AudioCache(tmp_path / "cache"), tmp_path / "moved.ogg"
    moved.write_bytes(clip.path.read_bytes())
    cache.load(clip)
    cache.load(Item("m", str(moved), ""))
    assert len(seen) == 1
    other = load_items(str(DEMO))[1]
    moved.write_bytes(other.path.read_bytes())
    wanted = rounded(of_data_set(other.path))
    np.testing.assert_array_equal(cache.load(Item("m", str(moved), "")), wanted)
    assert cache.durations([Item("m", str(moved), "")]) == [len(wanted) / 16_000]


def test_durations_are_looked_up_and_no_recording_is_read_for_them(
    tmp_path: Path, seen: list[Path], opened: list[Path]
) -> None:
    items = copies(tmp_path / "corpus", 3)
    assert AudioCache(tmp_path / "cache").durations(items) == [1.0, 1.0, 1.0]
    assert len(seen) == 3
    opened.clear()
    said: list[str] = []
    cache = AudioCache(tmp_path / "cache", said.append)
    assert cache.durations(items) == [1.0, 1.0, 1.0]
    (facts,) = (tmp_path / "cache").glob("recordings-*")
    assert opened == [facts] and len(seen) == 3 and not said
    # Its bytes are known by the file's size and time: only the stored samples are read.
    cache.load(items[0])
    assert len(opened) == 2 and opened[1].suffix == ".npy"
    clear_cache(tmp_path / "cache")
    assert AudioCache(tmp_path / "cache").durations(items) == [1.0, 1.0, 1.0]
    assert len(seen) == 6


def test_listed_lengths_are_taken_without_a_look_at_the_recordings(tmp_path: Path) -> None:
    """The plan of an epoch follows from them, so they must not depend on what is known by now."""
    missing = [replace(item, duration=2.5) for item in copies(tmp_path / "corpus", 2)]
    for item in missing:
        item.path.unlink()
    assert AudioCache(tmp_path / "cache").durations(missing, listed=True) == [2.5, 2.5]
    (known,) = copies(tmp_path / "other", 1)
    cache = AudioCache(tmp_path / "cache")
    for _ in range(2):
        assert cache.seconds(replace(known, duration=2.5), listed=True) == 2.5
        assert cache.seconds(known, listed=True) == 1.0  # its list says nothing
        cache.load(known)


def test_a_changed_recording_is_looked_at_again(tmp_path: Path) -> None:
    first, second = copies(tmp_path / "corpus", 2)
    AudioCache(tmp_path / "cache").load(first)
    before = first.path.stat()
    first.path.write_bytes(second.path.read_bytes())  # as long as the other, at another time
    os.utime(first.path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    found = AudioCache(tmp_path / "cache").load(first)
    np.testing.assert_array_equal(found, rounded(of_data_set(second.path)))


@pytest.mark.parametrize("damage", ["cut off", "one digit", "rubbish"])
def test_damaged_facts_are_made_anew_and_it_is_said(tmp_path: Path, damage: str) -> None:
    items, folder = copies(tmp_path / "corpus", 3), tmp_path / "cache"
    AudioCache(folder).durations(items)
    (file,) = folder.glob("recordings-*")
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    changed = {
        "cut off": whole[:-5],
        "one digit": b"".join([*lines[:2], lines[2].replace(b"16000]", b"16001]")]),
        "rubbish": b"".join(lines[:2]) + b"\xff\xfe\n",
    }[damage]
    assert changed != whole
    file.write_bytes(changed)
    said: list[str] = []
    assert AudioCache(folder, said.append).durations(items) == [1.0, 1.0, 1.0]
    assert [("1 of 3 lines are damaged" in text) for text in said] == [True]
    assert file.read_bytes() == whole
    assert AudioCache(folder, said.append).durations(items) == [1.0, 1.0, 1.0]
    assert len(said) == 1


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:99], None])
def test_a_damaged_cache_file_is_rebuilt(tmp_path, clip, damage):
    expected = AudioCache(tmp_path).load(clip)
    (stored,) = tmp_path.rglob("*.npy")
    whole = stored.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    stored.write_bytes(damage(whole) if damage else bytes(flipped))
    np.testing.assert_array_equal(AudioCache(tmp_path).load(clip), expected)
    assert stored.read_bytes() == whole
    np.testing.assert_array_equal(np.load(stored), expected * 32768)


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_cache_that_takes_nothing_is_said_once_and_ends_no_work(
    tmp_path: Path, reason: int, monkeypatch: pytest.MonkeyPatch, seen: list[Path]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    items, said = copies(tmp_path / "corpus", 2), []
    wanted = [AudioCache(tmp_path / "good").load(item) for item in items]
    monkeypatch.setattr(Path, "replace", refuse)
    cache = AudioCache(tmp_path / "cache", said.append)
    for _ in range(2):
        for item, samples in zip(items, wanted, strict=True):
            np.testing.assert_array_equal(cache.load(item), samples)
    assert len(seen) == 2 + 4
    (reported,) = said
    assert os.strerror(reason) in reported and "cannot be written" in reported
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_and_a_missing_clip(tmp_path: Path, clip: Item) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("in the way")
    np.testing.assert_array_equal(
        AudioCache(tmp_path / "file", said.append).load(clip), rounded(of_data_set(clip.path))
    )
    assert ["cannot be written" in text for text in said] == [True]
    with pytest.raises(AudioError, match=r"none\.ogg: cannot be read"):
        AudioCache(tmp_path).load(Item("n", str(tmp_path / "none.ogg"), ""))


def test_over_the_limit_those_used_longest_ago_go_first(tmp_path: Path) -> None:
    items, folder = copies(tmp_path / "corpus", 4), tmp_path / "cache"
    AudioCache(folder).durations(items[:3])
    paths = [samples_of(folder, item) for item in items]
    for age, path in zip([3, 2, 1], paths[:3], strict=True):
        os.utime(path, (age * 1e6, age * 1e6))  # the last is the oldest
    # One clip takes 32132 bytes. 110 kB hold three, and less than 99 kB stay of them.
    AudioCache(folder, limit=110_000).load(items[3])
    assert [path.exists() for path in paths] == [True, True, False, True]


def test_use_is_noticed(tmp_path: Path) -> None:
    items, folder = copies(tmp_path / "corpus", 3), tmp_path / "cache"
    AudioCache(folder).durations(items[:2])
    paths = [samples_of(folder, item) for item in items]
    for path in paths[:2]:
        os.utime(path, (1e6, 1e6))
    AudioCache(folder).load(items[0])
    # Two clips of 32132 bytes and their facts; of 96 kB, less than 87 kB stay with the third.
    AudioCache(folder, limit=96_000).load(items[2])
    assert [path.exists() for path in paths] == [True, False, True]


def test_what_is_in_use_stays_and_the_rest_is_decoded_each_time(
    tmp_path: Path, seen: list[Path]
) -> None:
    items, said = copies(tmp_path / "corpus", 4), list[str]()
    cache = AudioCache(tmp_path / "cache", said.append, limit=80_000)  # two clips and their facts
    for _ in range(2):
        cache.durations(items)
        for item in items:
            cache.load(item)
    kept = [samples_of(tmp_path / "cache", item).exists() for item in items]
    assert kept == [True, True, False, False]
    # Each once, and the two that are not kept at each of two loads.
    assert [seen.count(item.path) for item in items] == [1, 1, 3, 3]
    assert ["8e-05 GB" in text for text in said] == [True]


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, limit in (("", 20_000_000_000), ("1.5", 1_500_000_000), ("0", 0)):
        monkeypatch.setenv("WHISPERSLIM_CACHE_GB", text)
        assert cache_limit() == limit
    for text in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("WHISPERSLIM_CACHE_GB", text)
        with pytest.raises(UsageError, match="WHISPERSLIM_CACHE_GB"):
            cache_limit()


def test_clearing_takes_the_caches_own_files_only(tmp_path: Path) -> None:
    items, folder = copies(tmp_path / "corpus", 2), tmp_path / "cache"
    AudioCache(folder).durations(items)
    (folder / "mine.txt").write_text("not the cache's")
    (folder / "ab").mkdir(exist_ok=True)
    (folder / "ab" / ".writing-x").write_bytes(b"left by a process that was killed")
    found = cache_use(folder)
    assert found.files == 4  # two of samples, their facts, and what was left
    assert clear_cache(folder) == found
    assert cache_use(folder).files == cache_use(tmp_path / "nowhere").files == 0
    assert (folder / "mine.txt").exists()


def test_threads_may_share_a_folder(tmp_path: Path) -> None:
    items, folder = copies(tmp_path / "corpus", 20), tmp_path / "cache"
    caches = [AudioCache(folder) for _ in range(4)]
    threads = [threading.Thread(target=cache.durations, args=(items,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said: list[str] = []
    assert AudioCache(folder, said.append).durations(items) == [1.0] * 20
    assert not said and cache_use(folder).files == 21
