"""The page in a window of its own, by the optional package pywebview."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from whisperslim.errors import UsageError
from whisperslim.ui.app.build import launch
from whisperslim.ui.guard.access import LOCAL, Access

_BROWSER = "Or leave out --desktop and use a browser."
_SIZE, _SMALLEST = (1280, 900), (390, 600)


def open_window(
    runs_folder: Path, *, port: int, open_run: str | None = None, access: Access = LOCAL
) -> None:
    """Serve the page on this computer and show it in a native window until that is closed.

    Raises `UsageError` when the package, its toolkit or a screen is missing, or when others could
    reach the page: it records with this computer's microphone.
    """
    check_alone(access)
    webview = load_webview()
    check_screen(sys.platform, os.environ)
    blocks = launch(
        runs_folder, port=port, open_run=open_run, block=False, access=access, desktop=True
    )
    try:
        webview.settings["ALLOW_DOWNLOADS"] = True  # exported comparisons and reports
        webview.create_window(
            "WhisperSlim",
            blocks.local_url,
            width=_SIZE[0],
            height=_SIZE[1],
            min_size=_SMALLEST,
            text_select=True,
        )
        webview.start()
    except webview.errors.WebViewException as error:
        raise UsageError(
            f"no window can be opened ({error}). On Linux: pip install 'pywebview[qt]', or your "
            f"system's packages python3-gi and gir1.2-webkit2-4.1. {_BROWSER}"
        ) from error
    finally:
        blocks.close()


def check_alone(access: Access) -> None:
    """Raise `UsageError` unless only this computer can reach the page."""
    if not access.is_local:
        raise UsageError(
            "--desktop and --listen exclude each other: whoever reaches the page could record in "
            f"the room of this computer. {_BROWSER}"
        )


def load_webview() -> ModuleType:
    """The package. Raises `UsageError` that says how to install it."""
    try:
        import webview
        import webview.errors
    except ImportError as error:
        raise UsageError(
            f"--desktop needs the package pywebview: pip install 'whisperslim[desktop]'. {_BROWSER}"
        ) from error
    module: ModuleType = webview
    return module


def check_screen(platform: str, environment: Mapping[str, str]) -> None:
    """Raise `UsageError` on Linux without a screen, where the toolkit would end the program."""
    has_screen = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    if platform.startswith("linux") and not has_screen:
        raise UsageError(f"there is no screen to open a window on (no DISPLAY). {_BROWSER}")
