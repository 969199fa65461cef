"""The tables of the README and of docs/ are what the stored results say."""

import re
from pathlib import Path

import pytest

from benchmarks.tables.pages import PAGES, TABLES, filled_in


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_holds_what_the_results_say(page: Path) -> None:
    text = page.read_text("utf-8")
    assert filled_in(text) == text, "run: python -m benchmarks.tables"


def test_every_place_for_a_table_is_known_and_stands_once() -> None:
    found = re.findall(r"<!-- table:(\w+) -->", "".join(p.read_text("utf-8") for p in PAGES))
    assert sorted(found) == sorted(set(found))
    assert set(found) <= set(TABLES)


def test_a_block_is_replaced_and_nothing_else() -> None:
    text = "before\n<!-- table:nowhere -->\nkept\n<!-- end -->\nafter\n"
    assert filled_in(text) == text
