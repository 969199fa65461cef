"""Settings every test shares."""

import os

# Tiny models gain nothing from a second thread and lose much to waiting for it; two test processes
# share the machine instead. Set before torch is imported, and inherited by child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
