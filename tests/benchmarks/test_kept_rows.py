"""Rows of a stored table of errors that join a new one."""

from typing import Any

import pytest

from benchmarks.engines.wer import kept_rows

SETS: dict[str, Any] = {"hi": {"n": 3, "score": {"wer": 0.5}, "interval": [0.4, 0.6]}}
DENSE: dict[str, Any] = {"weights_sha256": "a", "sets": SETS}
STORED: dict[str, Any] = {
    "baseline": "dense", "date": "2026-11-30", "commit": "c", "processor": "p",
    "rows": {"dense": DENSE, "gone": {"weights_sha256": "b", "sets": SETS}},
}  # fmt: skip


def test_a_row_is_kept_with_when_it_was_made() -> None:
    # What has been stored has lists where what was just measured has tuples.
    fresh = {"weights_sha256": "a", "sets": {"hi": {**SETS["hi"], "interval": (0.4, 0.6)}}}
    found = kept_rows(STORED, fresh, ["gone"])
    made = {"date": "2026-11-30", "commit": "c", "processor": "p"}
    assert found == {"gone": {"made": made, "weights_sha256": "b", "sets": SETS}}
    # Kept again, it is still of its own day.
    later = {**STORED, "date": "later", "rows": {"dense": DENSE, **found}}
    assert kept_rows(later, DENSE, ["gone"]) == found


@pytest.mark.parametrize(
    "other", [{"weights_sha256": "z"}, {"sets": {"hi": {"n": 3, "score": {"wer": 0.4}}}}]
)
def test_another_baseline_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="another model"):
        kept_rows(STORED, {**DENSE, **other}, ["gone"])


def test_a_row_that_is_not_there_is_refused() -> None:
    with pytest.raises(SystemExit, match="no stored row is called 'x'"):
        kept_rows(STORED, DENSE, ["x"])
