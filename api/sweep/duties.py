"""One pass of the sweep: its duties, one after the other. Two passes at once do no harm."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from api.launchers import Launcher
from api.settings import ApiSettings
from api.sweep.old import delete_old_jobs, forget_old_claims
from api.sweep.unsettled import Settlement, clear_deleted_jobs, clear_late_songs
from api.webhooks import deliver_due
from contract.stores import Store


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Sweep:
    """What a pass works on.

    Its cost grows with the jobs that are unfinished, just finished or just deleted, not with all there are.
    """

    settings: ApiSettings
    store: Store
    launcher: Launcher
    store_url: str

    def run(self, now: datetime, *, everything: bool = False, stopped: Callable[[], bool] = _never) -> None:
        """One pass. It ends early, between two duties or jobs, when `stopped`.

        Args:
            now: the time that ages are counted to.
            everything: look at every job in the store, also at those that nobody has marked as unsettled.
            stopped: asked now and then.

        Raises:
            StoreError, LauncherUnavailable: store or cluster cannot be used; the next pass may do better.
        """
        settlement = Settlement(self.store, self.launcher, self.store_url, now)
        settlement.settle_jobs(everything=everything, stopped=stopped)
        clear_deleted_jobs(self.store, self.launcher, now)
        clear_late_songs(self.store, now)
        if not stopped():
            delete_old_jobs(self.store, self.launcher, self.settings.retention_days, now)
            forget_old_claims(self.store, now)
            deliver_due(self.store, self.settings, now, stopped)
