"""Write the table of licenses in docs/licenses.md from what is installed.

python -m benchmarks.licenses
"""

import re
from importlib.metadata import metadata
from pathlib import Path

_ROOT = Path(__file__).parent.parent
PAGE = _ROOT / "docs" / "licenses.md"
_BEGIN, _END = "<!-- licenses -->\n", "<!-- end of licenses -->"
_LONGEST = 60  # characters of a license's name; some packages put its whole text there


def main() -> None:
    """Rewrite the page."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    rows = "".join(f"| {name} | {license_of(name)} |\n" for name in required())
    table = f"| package | license, as the package states it |\n|---|---|\n{rows}"
    PAGE.write_text(f"{before}{_BEGIN}{table}{_END}{after}", "utf-8")


def required() -> list[str]:
    """The packages of requirements.txt, in its order."""
    lines = (_ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return [re.split("[=<>]", line)[0] for line in lines if line and not line.startswith("#")]


def license_of(package: str) -> str:
    """What the metadata of an installed package say of its license."""
    about = metadata(package)
    if "License-Expression" in about:
        return str(about["License-Expression"])
    stated = str(about["License"]) if "License" in about else ""
    if stated and "\n" not in stated and len(stated) <= _LONGEST:
        return stated
    classes = [each for each in about.get_all("Classifier") or [] if each.startswith("License")]
    return ", ".join(each.rpartition(" :: ")[2] for each in classes) or "not stated"


if __name__ == "__main__":
    main()
