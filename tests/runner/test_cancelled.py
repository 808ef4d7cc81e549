"""A runner that is told to end at the moments that are hardest to get right."""

import subprocess
import sys

import pytest

from contract.failures import EXITS, FailureCode
from runner.cancelled import EXIT_CODE

_RUNNER = """
import runpy, signal, sys
import runner.allocator, runner.attempt

def end():
    signal.raise_signal(signal.SIGTERM)

class Doomed:
    def __del__(self):
        end()

class Output:
    def flush(self):
        end()

def wait():
    signal.sigtimedwait([], 20)
    return 1

{}
runpy.run_module("runner", run_name="__main__", alter_sys=True)
"""

_AS_SOON_AS_IT_IS_HEEDED = "runner.allocator.keep_memory = end"
_WHERE_PYTHON_CANNOT_RAISE = "runner.allocator.keep_memory, runner.attempt.run = Doomed, wait"
_AFTER_THE_LAST_STEP = "runner.attempt.run, sys.stdout = (lambda: 0), Output()"


@pytest.mark.parametrize(
    ("moment", "code"),
    [(_AS_SOON_AS_IT_IS_HEEDED, 143), (_WHERE_PYTHON_CANNOT_RAISE, 143), (_AFTER_THE_LAST_STEP, 0)],
    ids=["as soon as it is heeded", "where Python cannot raise", "after the last step"],
)
def test_sigterm_ends_a_runner_at_any_moment_with_the_code_that_says_so(moment: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _RUNNER.format(moment)], capture_output=True, text=True, timeout=60
    )

    assert (ended.returncode, ended.stderr) == (code, "")


def test_the_exit_code_of_a_signal_is_the_contract_s() -> None:
    assert EXITS[FailureCode.CANCELLED].code == EXIT_CODE
