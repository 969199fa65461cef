"""Batches of clips that are in files of the hub, with room for one of the files at a time."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from tests.speech.corpus.remote.hub_answers import SET, answer, shard
from tests.speech.corpus.remote.server import Server, serving
from tests.support.models.inputs import WHISPERS
from tests.support.tiny_job import same
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.train.batches import BatchSource

FILES, CLIPS = 3, 4  # of each file
AN_EPOCH = 6  # batches of two clips


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    files = {
        f"train-{n}.parquet": shard(tmp_path, range(CLIPS * n, CLIPS * (n + 1)), duration=[0.5] * 4)
        for n in range(FILES)
    }
    with serving() as server:
        answer(server, files)
        monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("WHISPERSLIM_CACHE_GB", "0")  # of sounds nothing is kept
        room = max(map(len, files.values())) + 100
        monkeypatch.setenv("WHISPERSLIM_SHARDS_GB", str(room / 1e9))
        yield server


def supply(items: list[Item], folder: Path) -> BatchSource:
    return BatchSource(
        items, folder / "sounds", WindowPolicy(), batch_size=2, augment=AugmentOptions(), seed=3,
        input_spec=WHISPERS, listed=True,
    )  # fmt: skip


def fetched(server: Server) -> list[str]:
    return [name for name, _, stretch in server.asked if name.endswith(".parquet") and not stretch]


def test_each_file_is_fetched_once_an_epoch_and_its_clips_come_together(
    hub: Server, tmp_path: Path
) -> None:
    items = load_items(f"hub:{SET}#train")
    hub.asked.clear()
    with supply(items, tmp_path) as source:
        batches = [source.draw() for _ in range(2 * AN_EPOCH)]
    of = {item.key: item.file for item in items}
    files = [{of[key] for key in batch.keys} for batch in batches]
    assert all(len(each) == 1 for each in files)
    for epoch in (files[:AN_EPOCH], files[AN_EPOCH:]):
        assert len([file for file, _ in groupby(epoch)]) == FILES
    # Two batches are made ahead, so the third epoch may have begun.
    assert len(fetched(hub)) <= 2 * FILES + 1
    assert len(list((tmp_path / "cache").rglob("*.parquet"))) == 1


@pytest.mark.parametrize("drawn", [1, 4, AN_EPOCH + 3])
def test_a_resumed_supply_goes_on_with_the_same_clips(
    hub: Server, tmp_path: Path, drawn: int
) -> None:
    items = load_items(f"hub:{SET}#train")
    with supply(items, tmp_path) as straight:
        wanted = [straight.draw() for _ in range(drawn + 4)]
    with supply(items, tmp_path) as first:
        for _ in range(drawn):
            first.draw()
        state = first.state_dict()
    with supply(load_items(f"hub:{SET}#train"), tmp_path) as resumed:
        resumed.load_state_dict(state)
        assert all(same(vars(resumed.draw()), vars(batch)) for batch in wanted[drawn:])
