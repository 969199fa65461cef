"""Open the app: `python app.py [--port N] [--runs FOLDER] [--open RUN]`."""

import argparse
import sys
from pathlib import Path

from whisperslim.errors import WhisperSlimError


def main() -> None:
    """Read the arguments, then build the page and serve it."""
    parser = argparse.ArgumentParser(description="The WhisperSlim app, on this computer alone.")
    parser.add_argument("--port", type=int, default=7860, help="port of 127.0.0.1 (default 7860)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--open", metavar="RUN", help="name of a run to show first")
    arguments = parser.parse_args()
    from whisperslim.ui.app.build import launch

    try:
        launch(arguments.runs, port=arguments.port, open_run=arguments.open)
    except WhisperSlimError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
