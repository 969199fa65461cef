"""The page of licenses names every package that is required, with what it states."""

from benchmarks.licenses import PAGE, license_of, required


def test_every_required_package_has_a_row() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    stated = dict(line.strip("| ").split(" | ") for line in rows[1:])
    assert list(stated) == required() and len(stated) > 20
    assert "not stated" not in stated.values()


def test_what_a_package_states_is_in_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert license_of("soxr") == "LGPL-2.1-or-later"
    for name in required():
        assert f"| {name} | {license_of(name)} |" in text
