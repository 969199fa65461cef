"""The README's tables are what the stored results say."""

from benchmarks.tables import README, filled_in


def test_the_readme_holds_what_the_results_say() -> None:
    text = README.read_text("utf-8")
    assert filled_in(text) == text, "run: python -m benchmarks.tables"


def test_a_block_is_replaced_and_nothing_else() -> None:
    text = "before\n<!-- table:nowhere -->\nkept\n<!-- end -->\nafter\n"
    assert filled_in(text) == text
