"""Tests of the runner."""

import os

# As in runner.__main__, before torch is loaded: threads that wait sleep, whatever else the machine does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
