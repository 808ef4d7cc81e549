"""Reports: what is written, when, and that they never hurt the song."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.failures import Failure, FailureCode
from contract.progress import Progress
from contract.stages import StageName, Status
from runner.progress import FileReporter, LogReporter, ProgressReport, open_reporter

FAILURE = Failure(code=FailureCode.INVALID_AUDIO, error="It is broken.")


class Recorder:
    """A reporter that keeps everything, and breaks on demand."""

    interval = 0.5
    attempt = "1"

    def __init__(self) -> None:
        self.written: list[Progress] = []
        self.broken = False
        self.later_attempt = False
        self.closed = False

    def write(self, progress: Progress) -> None:
        if self.broken:
            raise OSError("no space left")
        self.written.append(progress)

    def overtaken(self) -> bool:
        if self.broken:
            raise OSError("no such file")
        return self.later_attempt

    def close(self) -> None:
        self.closed = True


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def timer(self) -> float:
        return self.seconds


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def report(recorder: Recorder, clock: Clock) -> ProgressReport:
    return ProgressReport(recorder, clock.now, clock.timer)


def statuses(progress: Progress) -> list[Status]:
    return [stage.status for stage in progress.stages]


def test_every_change_of_a_stage_is_written_at_once(
    report: ProgressReport, recorder: Recorder, clock: Clock
) -> None:
    report.begin(StageName.SEPARATION)
    report.begin(StageName.HPSS)
    clock.seconds = 2.5
    report.complete(StageName.SEPARATION)
    assert len(recorder.written) == 3
    assert statuses(recorder.written[-1]) == [
        Status.COMPLETED,
        Status.PROCESSING,
        Status.PENDING,
        Status.PENDING,
    ]
    assert recorder.written[-1].stages[0].duration_seconds == 2.5


def test_a_stage_begins_only_once(report: ProgressReport, recorder: Recorder, clock: Clock) -> None:
    report.begin(StageName.SEPARATION)
    clock.seconds = 1
    report.begin(StageName.SEPARATION)
    assert len(recorder.written) == 1
    assert report.progress.stages[0].started_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_mere_advance_is_written_at_the_reporter_s_interval(
    report: ProgressReport, recorder: Recorder, clock: Clock
) -> None:
    for step in range(1, 101):
        clock.seconds = step / 20
        report.advance(step / 100)
    assert len(recorder.written) == 10
    assert report.progress.progress == 1.0


def test_progress_never_goes_back_or_beyond_the_end(report: ProgressReport) -> None:
    for fraction in (0.4, 0.2, 7.0):
        report.advance(fraction)
    assert report.progress.progress == 1.0


def test_a_failure_is_that_of_the_first_unfinished_stage(report: ProgressReport, recorder: Recorder) -> None:
    report.begin(StageName.SEPARATION)
    report.begin(StageName.HPSS)
    report.complete(StageName.SEPARATION)
    report.begin(StageName.COMPOSITE)
    report.fail(FAILURE)
    last = recorder.written[-1]
    assert statuses(last) == [Status.COMPLETED, Status.FAILED, Status.PENDING, Status.PENDING]
    assert (last.failure, last.stages[1].error) == (FAILURE, "It is broken.")
    assert last.stages[2].started_at is None


def test_a_report_that_cannot_be_written_does_not_stop_the_song(
    report: ProgressReport, recorder: Recorder
) -> None:
    recorder.broken = True
    report.begin(StageName.SEPARATION)
    report.fail(FAILURE)
    recorder.broken = False
    report.advance(0.5)
    assert statuses(report.progress)[0] is Status.FAILED


def test_a_file_is_whole_whenever_it_is_read(tmp_path: Path) -> None:
    reporter = FileReporter(tmp_path / "status.json")
    reporter.write(Progress())
    over = threading.Event()
    seen: list[float] = []

    def read() -> None:
        while not over.is_set():
            seen.append(Progress.model_validate_json((tmp_path / "status.json").read_bytes()).progress)

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(500):
        reporter.write(Progress(progress=step / 500, attempt="1" * (step * 10)))
    over.set()
    reader.join()
    assert len(seen) > 1
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_attempts_are_counted_over_the_reports_of_earlier_ones(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        report = ProgressReport(FileReporter(tmp_path / "status.json"))
        assert report.progress.attempt == str(number)
        report.begin(StageName.SEPARATION)
    (tmp_path / "status.json").write_text("{")
    assert ProgressReport(FileReporter(tmp_path / "status.json")).progress.attempt == "1"


def test_an_attempt_knows_when_a_later_one_reports_and_falls_silent(tmp_path: Path) -> None:
    first = ProgressReport(FileReporter(tmp_path / "status.json"))
    first.start()
    assert not first.overtaken()
    second = ProgressReport(FileReporter(tmp_path / "status.json"))
    second.start()
    assert first.overtaken()
    assert not second.overtaken()
    first.fail(FAILURE)
    last = Progress.model_validate_json((tmp_path / "status.json").read_bytes())
    assert (last.attempt, last.failure) == ("2", None)


def test_an_attempt_that_cannot_find_out_is_not_overtaken(report: ProgressReport, recorder: Recorder) -> None:
    recorder.broken = recorder.later_attempt = True
    assert not report.overtaken()
    recorder.broken = False
    assert report.overtaken()


def test_closing_a_report_closes_its_reporter(report: ProgressReport, recorder: Recorder) -> None:
    report.close()
    assert recorder.closed


def test_the_url_says_which_reporter(tmp_path: Path) -> None:
    reporter = open_reporter(f"file://{tmp_path}/a b.json")
    reporter.write(Progress())
    assert (tmp_path / "a b.json").exists()
    assert isinstance(open_reporter(""), LogReporter)
    with pytest.raises(ValueError, match="https"):
        open_reporter("https://example.org/")
