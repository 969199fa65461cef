"""`python -m whisperslim` is the command `whisperslim`."""

from whisperslim.cli import main

if __name__ == "__main__":
    main()
