"""What became of a song's Job, and why: the Job hides it, the pod or an event tells. Pure functions."""

from collections.abc import Sequence

from pydantic import ValidationError

from api.launchers import Observation
from api.launchers.kubernetes.facts import JobFacts, PodFacts
from api.launchers.kubernetes.reports import attempt_pod, progress_of
from contract.failures import EXITS, Failure, FailureCode
from contract.manifest import Waiting
from contract.record import Record

DIAGNOSIS = "stemjob.dev/diagnosis"
"""Annotation that keeps why a job waits, for the day when Kubernetes deletes the pod that shows it."""

_NO_IMAGE = {
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_NO_CONTAINER = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_KEPT = {
    FailureCode.IMAGE_PULL,
    FailureCode.UNSCHEDULABLE,
    FailureCode.POD_FORBIDDEN,
    FailureCode.POD_REJECTED,
}


class Diagnosis(Record):
    """Why a job waits: a code, a sentence with Kubernetes' own words, the UID of the pod that shows it."""

    code: FailureCode
    message: str
    pod: str = ""


def diagnose(job: JobFacts, pods: Sequence[PodFacts], refusals: Sequence[str] = ()) -> Observation:
    """How the job fares.

    Args:
        job: the Job.
        pods: what is left of its pods, in any order.
        refusals: why pods could not be made, newest last; needed where `needs_events` says so.
    """
    progress = progress_of(job.annotations)
    if job.end is None:
        current = _current(pods)
        reporter = attempt_pod(job.annotations)
        between = current is None and job.failed > 0 and not job.failing
        if between or (current is not None and reporter not in ("", current.uid)):
            progress = None  # it is an earlier attempt's, and nothing has begun since
        waits = why_waiting(job, pods, refusals)
        waiting = Waiting(code=waits.code.value, message=waits.message) if waits else None
        return Observation(finished=False, progress=progress, waiting=waiting)
    failure = None if job.end.complete else _failure(job, pods, refusals)
    return Observation(finished=True, progress=progress, failure=failure, ended_at=job.end.at)


def needs_events(job: JobFacts, pods: Sequence[PodFacts]) -> bool:
    """Whether only events can tell: there is no pod where one should be, or where one never was."""
    if pods or job.suspended:
        return False
    if job.end is None:
        return not job.failed
    return job.end.reason == "DeadlineExceeded" and _kept(job) is None


def diagnosis_to_keep(
    job: JobFacts, pods: Sequence[PodFacts], refusals: Sequence[str] = ()
) -> Diagnosis | None:
    """What must be written on the Job before the pod that shows it is gone; None when it is there already."""
    waits = why_waiting(job, pods, refusals) if job.end is None else None
    if waits is None or waits.code not in _KEPT:
        return None
    stored = _stored(job)
    known = stored is not None and (stored.code, stored.pod) == (waits.code, waits.pod)
    return None if known else waits


def why_waiting(job: JobFacts, pods: Sequence[PodFacts], refusals: Sequence[str]) -> Diagnosis | None:
    """Why no runner works on an unfinished job; None when one does, or is about to."""
    if job.suspended is not None:
        return Diagnosis(
            code=FailureCode.SUSPENDED, message=f"The job is held back until it is resumed: {job.suspended}"
        )
    if job.failing:
        return None
    current = _current(pods)
    if current is not None:
        return _why_pending(job, current, pods) if current.phase == "Pending" else None
    if job.failed or pods:
        return _retrying(pods)
    if refusals:
        return _forbidden(refusals)
    return None


def _why_pending(job: JobFacts, pod: PodFacts, pods: Sequence[PodFacts]) -> Diagnosis | None:
    reason, message = pod.waits or ("", "")
    words = message or reason
    if pod.unschedulable is not None:
        code, sentence = FailureCode.UNSCHEDULABLE, f"No node can take the runner: {pod.unschedulable}"
    elif reason in _NO_IMAGE:
        code, sentence = FailureCode.IMAGE_PULL, f"The runner's image cannot be had: {words}"
    elif reason in _NO_CONTAINER:
        code, sentence = FailureCode.POD_REJECTED, f"The node cannot start the runner: {words}"
    else:
        return _retrying(pods) if job.failed else None
    return Diagnosis(code=code, message=sentence, pod=pod.uid)


def _retrying(pods: Sequence[PodFacts]) -> Diagnosis | None:
    last = _last_failed(pods)
    failure = pod_failure(last) if last else None
    if failure and failure.code in EXITS and not EXITS[failure.code].retryable:
        return None  # the Job is about to fail
    why = f" ({failure.code.value}: {failure.error})" if failure else ""
    return Diagnosis(
        code=FailureCode.RETRYING, message=f"An attempt failed{why}, and Kubernetes makes another."
    )


def _forbidden(refusals: Sequence[str]) -> Diagnosis:
    return Diagnosis(
        code=FailureCode.POD_FORBIDDEN,
        message=f"The cluster does not let the runner's pod be made: {refusals[-1]}",
    )


def _failure(job: JobFacts, pods: Sequence[PodFacts], refusals: Sequence[str]) -> Failure | None:
    """Why a failed Job failed; None when nothing is left to tell."""
    assert job.end is not None
    if job.end.reason == "DeadlineExceeded":
        kept = _kept(job)
        if kept is None and refusals and not attempt_pod(job.annotations):
            kept = _forbidden(refusals)
        return Failure(code=kept.code, error=kept.message) if kept else _too_late(job)
    last = _last_failed(pods)
    reporter = attempt_pod(job.annotations)
    if last is None or (reporter and last.began and reporter not in {pod.uid for pod in pods}):
        return None  # the pod that came last, the one that has reported last, is gone
    return pod_failure(last)


def _too_late(job: JobFacts) -> Failure:
    return Failure(
        code=FailureCode.DEADLINE_EXCEEDED,
        error=f"The song was not done within the {job.deadline} seconds that it may take, waiting included.",
    )


def pod_failure(pod: PodFacts) -> Failure | None:
    """Why a failed pod failed; None when it does not tell.

    Its own reason comes first: an eviction, too, shows exit code 137.
    """
    words = pod.message or pod.disrupted or pod.reason
    if pod.reason == "Evicted":
        return Failure(code=FailureCode.EVICTED, error=f"The node ended the runner: {words}")
    if pod.reason == "DeadlineExceeded":
        return Failure(code=FailureCode.DEADLINE_EXCEEDED, error=f"The song took too long: {words}")
    if not pod.began and pod.reason:
        return Failure(
            code=FailureCode.POD_REJECTED, error=f"The node did not take the runner: {pod.reason}: {words}"
        )
    if (said := _said(pod.exit_message)) is not None:
        return said
    if pod.exit_reason == "OOMKilled":
        return Failure(
            code=FailureCode.OOM_KILLED, error="The runner needed more memory than its limit and was killed."
        )
    if pod.disrupted is not None:
        return Failure(code=FailureCode.EVICTED, error=f"The node ended the runner: {pod.disrupted}")
    if pod.exit_code is None or pod.exit_code == 137:
        return None  # killed, and nobody says by whom
    return Failure(
        code=FailureCode.RUNNER_ERROR,
        error=f"The runner ended with exit code {pod.exit_code} ({pod.exit_reason}); its log says more.",
    )


def _said(termination_message: str) -> Failure | None:
    """What the runner itself left; without its own word Kubernetes puts the end of the log there."""
    try:
        return Failure.model_validate_json(termination_message)
    except ValidationError:
        return None


def _current(pods: Sequence[PodFacts]) -> PodFacts | None:
    """The newest pod that has not failed."""
    return max((pod for pod in pods if pod.phase != "Failed"), key=lambda pod: pod.order, default=None)


def _last_failed(pods: Sequence[PodFacts]) -> PodFacts | None:
    """The newest failed pod, one that counted as a try if there is one."""
    failed = [pod for pod in pods if pod.phase == "Failed"]
    return max(failed, key=lambda pod: (pod.disrupted is None, pod.order), default=None)


def _stored(job: JobFacts) -> Diagnosis | None:
    try:
        return Diagnosis.model_validate_json(job.annotations.get(DIAGNOSIS, ""))
    except ValidationError:
        return None


def _kept(job: JobFacts) -> Diagnosis | None:
    """The diagnosis on the Job, unless a runner has begun since."""
    stored, reporter = _stored(job), attempt_pod(job.annotations)
    if stored is None or (reporter and stored.pod in ("", reporter)):
        return None
    return stored
