"""Stored references and hypotheses of an evaluation. Loads no torch."""

from pathlib import Path

from whisperslim.core.disk.untrusted import MOST_JSON_BYTES, read_plain


def texts_of(path: Path, below: Path | None = None) -> list[tuple[str, str, str]]:
    """(key, reference, hypothesis) of each clip in a .tsv under eval/.

    No part of the path from `below` on may be a link.

    Raises `OSError` or `ValueError` when it is missing or damaged.
    """
    text = read_plain(path, MOST_JSON_BYTES, below).decode("utf-8")
    lines = text.removesuffix("\n").split("\n")[1:]
    rows = []
    for line in lines:
        key, reference, hypothesis = line.split("\t")
        rows.append((key, reference, hypothesis))
    return rows
