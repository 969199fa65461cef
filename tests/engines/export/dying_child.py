"""A child of the parity check that comes to a bad end, without loading anything first."""

import os
import signal
import sys
import time

HOW = "WHISPERSLIM_TEST_DEATH"

if __name__ == "__main__":
    how = os.environ[HOW]
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    if how == "hang":
        time.sleep(60)
    elif how == "error":
        sys.exit(3)
    else:
        os.kill(os.getpid(), getattr(signal, how))
