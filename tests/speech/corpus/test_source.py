"""Names of sources, taken apart and put together."""

from pathlib import Path

import pytest

from whisperslim.errors import UsageError
from whisperslim.speech.corpus.source import Source, parse_source

WRITTEN = {
    "data/hi": Source("data/hi"),
    "data/hi#train": Source("data/hi", "train"),
    "data/hi?text=verbatim": Source("data/hi", "", "verbatim"),
    "data/hi#train?text=verbatim&audio=wav": Source("data/hi", "train", "verbatim", "wav"),
    "data/a?b#train?audio=wav": Source("data/a?b", "train", "", "wav"),
    "hub:a/b:hi@v1#train[:10%]?text=normalized": Source(
        "hub:a/b:hi@v1", "train[:10%]", "normalized"
    ),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_parts_of_a_source_and_back(written: str) -> None:
    assert parse_source(written) == WRITTEN[written]
    assert str(WRITTEN[written]) == written


def test_the_order_of_columns_is_free() -> None:
    asked = parse_source("data#dev?audio=wav&text=said")
    assert asked == Source("data", "dev", "said", "wav")


@pytest.mark.parametrize(
    "wrong", ["x?text=a&text=b", "x#?text=a", "#y?text=a", "hub:a/b?speaker=x", "hub:a/b?text="]
)
def test_a_malformed_source_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        parse_source(wrong)


def test_a_file_of_the_name_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "list?text=a"
    path.touch()
    assert parse_source(str(path)) == Source(str(path))
