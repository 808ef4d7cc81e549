"""Temporary folders and the spool in them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contract.failures import FailureCode, JobFailed
from contract.tracks import Track
from runner.spool import SPOOLED, Spool
from runner.workspace import work_folder


def test_the_folder_is_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), work_folder(tmp_path / "new") as folder:
        (folder / "file").write_bytes(b"x")
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []


def test_a_killed_runner_s_folder_is_removed_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from runner.workspace import work_folder\n"
        "with work_folder(Path(sys.argv[1])) as folder: print(folder, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    other = Path(process.stdout.readline().strip())
    with work_folder(tmp_path) as own:
        assert {own, other} == set(tmp_path.iterdir())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert other.exists()
        with work_folder(tmp_path) as third:
            assert {own, third} == set(tmp_path.iterdir())


def test_the_spool_gives_back_what_it_took(tmp_path: Path) -> None:
    tracks = {
        track: np.random.default_rng(number).standard_normal((2, 1000)).astype(np.float32)
        for number, track in enumerate(SPOOLED)
    }
    spool = Spool(tmp_path, 2)
    with spool:
        for track, content in tracks.items():
            for start, end in ((0, 300), (300, 300), (300, 1000)):
                spool.write(track, content[:, start:end])
    with spool.reader() as read:
        parts = [read(frames) for frames in (1, 0, 999)]
    for track, content in tracks.items():
        assert np.array_equal(np.concatenate([part[track] for part in parts], axis=1), content)
    spool.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_has_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "drums.f32").symlink_to("/dev/full")
    for frames in (1, 100_000):  # noticed when the file is closed, and when the buffer is full
        with pytest.raises(JobFailed) as caught, Spool(tmp_path, 2) as spool:
            spool.write(Track.DRUMS, np.zeros((2, frames), np.float32))
        assert caught.value.failure.code is FailureCode.DISK_FULL
