"""The Kubernetes launcher: one Job for each song. It keeps nothing: any number of APIs may run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from api.launchers import LauncherUnavailable, Observation
from api.launchers.kubernetes.access import Access
from api.launchers.kubernetes.client import LOOK_SECONDS, ClusterClient, NoAnswer, connect
from api.launchers.kubernetes.diagnosis import DIAGNOSIS, diagnose, diagnosis_to_keep, needs_events
from api.launchers.kubernetes.facts import JobFacts, PodFacts
from api.launchers.kubernetes.stamp import JOB_ID_LABEL, MANAGED_BY, job_name, stamp
from api.launchers.kubernetes.template import load_template
from contract.job import JobSpec

log = structlog.get_logger(__name__)

RECORDED_LABEL = "stemjob.dev/recorded"
"""On a Job whose manifest is written: nobody need look at it again until Kubernetes removes it."""

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
_AT_ONCE = 100
"""Jobs of one request: their ids stand in its address, of which servers take 8 KiB."""


class KubernetesLauncher:
    """Creates Jobs from the operator's template and reads them, their pods and what runners wrote on them."""

    def __init__(self, cluster: ClusterClient, template: Mapping[str, Any]) -> None:
        self._cluster, self._template = cluster, template

    def launch(self, spec: JobSpec) -> None:
        try:
            self._cluster.create_job(stamp(self._template, spec, self._cluster.namespace))
        except NoAnswer:
            # It may have landed all the same. If not, or if nobody can tell, the sweep makes it.
            if self._cluster.read_job(job_name(spec.job_id), LOOK_SECONDS) is None:
                raise

    def observe(self, job_id: str) -> Observation | None:
        name = job_name(job_id)
        found = self._cluster.read_job(name)
        if found is None:
            return None
        job = JobFacts.of(found)
        pods = [] if job.ended_well else self._cluster.pods(f"{JOB_NAME_LABEL}={name}")
        facts = [PodFacts.of(pod) for pod in pods]
        told = self._cluster.refusals(name) if needs_events(job, facts) else {}
        refusals = told.get(name, ())
        self._keep(name, job, facts, refusals)
        return diagnose(job, facts, refusals)

    def observe_all(self, job_ids: Sequence[str], *, exact: bool = False) -> Mapping[str, Observation]:
        seen: dict[str, Observation] = {}
        for first in range(0, len(job_ids), _AT_ONCE):
            seen |= self._observe_some(job_ids[first : first + _AT_ONCE], exact)
        return seen

    def finished(self) -> Iterable[str]:
        for job in self._cluster.jobs(f"{MANAGED_BY},!{RECORDED_LABEL}"):
            if JobFacts.of(job).end is not None:
                yield job["metadata"]["labels"][JOB_ID_LABEL]

    def forget(self, job_id: str) -> None:
        """Marks the Job as recorded. It stays for people to look at until its time is up."""
        self._cluster.mark(job_name(job_id), {"labels": {RECORDED_LABEL: "true"}})

    def delete(self, job_id: str) -> None:
        self._cluster.delete_job(job_name(job_id))

    def close(self) -> None:
        self._cluster.close()

    def _observe_some(self, job_ids: Sequence[str], exact: bool) -> dict[str, Observation]:
        """With three requests, however many they are."""
        found = self._cluster.jobs(_selector(job_ids), exact=exact)
        jobs = {job["metadata"]["labels"][JOB_ID_LABEL]: JobFacts.of(job) for job in found}
        open_ids = [job_id for job_id, job in jobs.items() if not job.ended_well]
        pods: dict[str, list[PodFacts]] = {job_id: [] for job_id in jobs}
        for pod in self._cluster.pods(_selector(open_ids), exact=exact) if open_ids else ():
            pods[pod["metadata"]["labels"][JOB_ID_LABEL]].append(PodFacts.of(pod))
        ask = any(needs_events(job, pods[job_id]) for job_id, job in jobs.items())
        told = self._cluster.refusals() if ask else {}
        seen: dict[str, Observation] = {}
        for job_id, job in jobs.items():
            name = job_name(job_id)
            refusals = told.get(name, ())
            if exact:
                self._keep(name, job, pods[job_id], refusals)
            seen[job_id] = diagnose(job, pods[job_id], refusals)
        return seen

    def _keep(self, name: str, job: JobFacts, pods: Sequence[PodFacts], refusals: Sequence[str]) -> None:
        """Writes on the Job why it waits, before Kubernetes deletes the pod that shows it."""
        diagnosis = diagnosis_to_keep(job, pods, refusals)
        if diagnosis is None:
            return
        try:
            self._cluster.mark(name, {"annotations": {DIAGNOSIS: diagnosis.to_json().decode()}})
        except LauncherUnavailable:
            log.warning("diagnosis_not_kept", job=name)  # an answer does not fail for it; the next look tries


def _selector(job_ids: Sequence[str]) -> str:
    return f"{JOB_ID_LABEL} in ({','.join(job_ids)})"


def open_kubernetes_launcher(
    namespace: str | None, template: str | None, access: Access = Access()
) -> KubernetesLauncher:
    """The launcher for a namespace and a template's path, each with its default, by a way into a cluster.

    Raises:
        ValueError: no cluster, or a template that is not right; the message is a sentence.
    """
    checked = load_template(template)
    return KubernetesLauncher(connect(namespace, access), checked)
