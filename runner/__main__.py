"""`python -m runner`: one song, four stages, one exit code (`contract.failures.EXITS`).

Which job it is stands in the environment (`contract.job.JobSpec`), what it is asked for in its `job.json`.
"""

import os
import sys

from runner.allocator import keep_memory
from runner.cancelled import EXIT_CODE, Cancelled, cancel_on_signals, ignore_signals


def main() -> int:
    """The exit code of this process. No signal changes it any more."""
    try:
        cancel_on_signals()  # before the imports, which take seconds
        keep_memory()
        # Threads of the network that wait for each other sleep instead of spinning: on a machine that has
        # other work, spinning made a song take four times the CPU and five times as long. Read when torch is
        # loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # oneDNN keeps compiled code for each shape that it has met, 1024 of them, half a megabyte each: an
        # hour took 1 GiB more than three minutes. htdemucs needed 106, in bfloat16 192.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
        from runner.attempt import run

        code = run()
        ignore_signals()
    except Cancelled:
        return EXIT_CODE
    return code


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: a thread that still waits for an API server must not log while the interpreter is taken apart.
    # That is fatal (SIGABRT), and the exit code would be another.
    os._exit(exit_code)
