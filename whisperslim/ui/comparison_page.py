"""A comparison as files to pass on: a page that needs nothing else, and JSON."""

import json
from pathlib import Path

from whisperslim.errors import UsageError
from whisperslim.jobs.disk import write_text_told
from whisperslim.ui.compared import Compared
from whisperslim.ui.comparison_html import comparison_html
from whisperslim.ui.markup import text
from whisperslim.ui.theme import COMPARE_SHEET, STYLE_SHEET, font_faces

# The app's own names for what its style sheets leave to Gradio's theme.
_BASE = """
:root { --body-text-color: #1e293b; --body-text-color-subdued: #475569;
  --block-background-fill: #fff; --radius-lg: 8px; --radius-md: 6px; }
body { font: 400 16px/1.5 "Noto Sans Devanagari", system-ui, sans-serif; margin: 0 auto;
  max-width: 1080px; padding: 1rem; color: var(--body-text-color); background: #f8fafc; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
@media print { body { background: #fff; padding: 0; } audio { display: none; }
  .ws-card { break-inside: avoid; } }
"""


def comparison_page(compared: Compared, sound: bytes) -> str:
    """A whole HTML page with fonts, styles and the recording inside; it asks for nothing else.

    Raises `UsageError` while the sides are hidden: the page would tell which is which.
    """
    _check_shown(compared)
    styles = "\n".join(sheet.read_text("utf-8") for sheet in (STYLE_SHEET, COMPARE_SHEET))
    made = compared.made.replace("T", " ").replace("+00:00", " UTC")
    lead = f"{made}; {compared.side('slim').model} against {compared.side('dense').model}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; font-src data:; media-src data:\">"
        f"<title>WhisperSlim comparison</title><style>{font_faces()}{styles}{_BASE}</style></head>"
        f'<body><h1>WhisperSlim comparison</h1><p class="ws-lead">{text(lead)}</p>'
        f"{comparison_html(compared, sound)}</body></html>"
    )


def write_page(compared: Compared, sound: bytes, folder: Path) -> Path:
    """The page as a file in `folder`.

    Raises `UsageError` while the sides are hidden, `RunError` when the disk does not take it.
    """
    return _written(folder / f"comparison-{compared.key}.html", comparison_page(compared, sound))


def write_record(compared: Compared, folder: Path) -> Path:
    """The comparison as JSON in `folder`. Raises as `write_page` does."""
    _check_shown(compared)
    record = json.dumps(compared.to_record(), ensure_ascii=False, indent=1)
    return _written(folder / f"comparison-{compared.key}.json", record + "\n")


def _check_shown(compared: Compared) -> None:
    if compared.hidden:
        raise UsageError("vote first; the file would tell which side is which")


def _written(path: Path, content: str) -> Path:
    write_text_told(path, content)
    return path
