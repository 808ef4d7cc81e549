"""What nobody waits for: one idempotent pass over what died, was left behind, grew old or never began."""

from api.sweep.duties import Sweep
from api.sweep.thread import SweepThread
from api.sweep.unsettled import UPLOAD_ABANDONED_AFTER

__all__ = ["UPLOAD_ABANDONED_AFTER", "Sweep", "SweepThread"]
