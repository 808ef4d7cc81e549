"""`python -m runner`: one song, four stages, one exit code (`contract.failures.EXITS`).

Which job it is stands in the environment (`contract.job.JobSpec`), what it is asked for in its `job.json`.
"""

import sys

from runner.cancelled import Cancelled, cancel_on_signals


def main() -> int:
    """The exit code of this process."""
    cancel_on_signals()  # before the imports, which take seconds
    try:
        from runner.attempt import run

        return run()
    except Cancelled:
        from contract.failures import EXITS, FailureCode

        return EXITS[FailureCode.CANCELLED].code


if __name__ == "__main__":
    sys.exit(main())
