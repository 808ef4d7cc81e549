"""`python -m api.sweep`: one pass, for a CronJob. `--all` looks at every job in the store."""

import argparse
import sys

from pydantic import ValidationError

from api.launchers import LauncherUnavailable
from api.settings import ApiSettings, problem_of
from api.wiring import opened_sweep
from contract import clock
from contract.logs import configure_logs
from contract.stores import StoreError


def main() -> int:
    """0 after a whole pass; 1 with a sentence on standard error when it could not begin or not end."""
    parser = argparse.ArgumentParser(prog="python -m api.sweep", description="One pass of the sweep.")
    parser.add_argument(
        "--all",
        action="store_true",
        help="look at every job in the store, not only at those that are marked as unsettled",
    )
    everything: bool = parser.parse_args().all
    try:
        settings = ApiSettings()
        configure_logs(settings.log_level)
        with opened_sweep(settings) as sweep:
            sweep.run(clock.now(), everything=everything)
    except ValidationError as error:
        return _fail(problem_of(error))
    except (ValueError, RuntimeError, StoreError, LauncherUnavailable, OSError) as error:
        return _fail(str(error))
    return 0


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
