"""A release of the chart in a cluster, and the API that it describes, as a process of this machine."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from kubernetes.client import V1Pod

from tests.api.conftest import Server
from tests.helm.chart import CHART, Helm, Object, Rendered, environment
from tests.testbed.cluster import Cluster
from tests.testbed.waiting import wait_for

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
RELEASE = "stemjob"
KINDS = "deploy,svc,cm,sa,role,rolebinding,cronjob,networkpolicy,pdb,hpa,daemonset"
POLICIES = "validatingadmissionpolicy,validatingadmissionpolicybinding"


class Release:
    """The chart installed in a namespace at the restricted level, its Jobs in another."""

    def __init__(self, helm: Helm, cluster: Cluster, folder: Path) -> None:
        self.helm, self.cluster, self.folder = helm, cluster, folder
        self.namespace = cluster.make_namespace("music", RESTRICTED)
        self.jobs = cluster.make_namespace("work", RESTRICTED)

    def does(self, *arguments: str | Path, values: Object | None = None) -> str:
        """`helm …` in the cluster."""
        where = ("--namespace", self.namespace, "--kubeconfig", str(self.cluster.kubeconfig))
        return self.helm(*arguments, *where, values=values)

    def install(self, **values: Any) -> None:
        """`helm install`; what `values` does not say is as in the chart."""
        self.does("install", RELEASE, CHART, values={"jobs": {"namespace": self.jobs}, **values})

    def upgrade(self, **values: Any) -> None:
        """`helm upgrade`; what `values` does not say stays."""
        self.does("upgrade", RELEASE, CHART, "--reset-then-reuse-values", values=values)

    def uninstall(self) -> None:
        self.does("uninstall", RELEASE, "--wait")

    def manifests(self) -> Rendered:
        """What is installed."""
        return Rendered(yaml.safe_load_all(self.does("get", "manifest", RELEASE)))

    def pods(self, component: str, count: int) -> list[V1Pod]:
        """The pods of a component, as soon as there are so many."""
        selector = f"app.kubernetes.io/component={component}"

        def look() -> list[V1Pod]:
            pods = self.cluster.core.list_namespaced_pod(self.namespace, label_selector=selector).items
            return pods if len(pods) == count else []

        return wait_for(f"{count} pods of {component}", look, 30)

    def left(self) -> list[str]:
        """Every object of the release that is still there, as kind/name."""
        label = f"app.kubernetes.io/instance={RELEASE}"
        named = "".join(
            self.cluster.kubectl("get", KINDS, "-n", place, "-l", label, "-o", "name")
            for place in (self.namespace, self.jobs)
        )
        policies = self.cluster.kubectl("get", POLICIES, "-o", "name").split()
        return [*named.split(), *(name for name in policies if name.endswith(f".{self.namespace}"))]

    def told(self, container: Object, pod: V1Pod) -> dict[str, str]:
        """What a container of this pod is told, for a process of this machine: variables, template, token."""
        installed = self.manifests()
        template = self.folder / f"{uuid.uuid4().hex}.yaml"
        template.write_text(installed.template_text)
        token = self.cluster.token(self.namespace, installed.api_pod["serviceAccountName"], pod)
        return environment(container) | {
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.cluster.kubeconfig_for(token)),
            "STEMJOB_JOB_TEMPLATE": str(template),
        }

    def api(self, **more: str) -> Server:
        """The API as one of its pods would run it."""
        [container] = self.manifests().api_pod["containers"]
        here = {"HOST": "127.0.0.1", "PORT": "0", **more}
        return Server(self.folder, self.told(container, self.pods("api", 2)[0]) | here)

    def remove(self) -> None:
        """Ends both namespaces, and what belongs to none."""
        for name in self.left():
            if name.startswith("validatingadmissionpolicy"):
                self.cluster.kubectl("delete", name, "--ignore-not-found", "--wait=false")
        self.cluster.remove_namespace(self.namespace)
        self.cluster.remove_namespace(self.jobs)


@contextmanager
def released(helm: Helm, cluster: Cluster, folder: Path) -> Iterator[Release]:
    """Two namespaces for a release; they go with the context."""
    release = Release(helm, cluster, folder)
    try:
        yield release
    finally:
        release.remove()


def uploaded(server: Server, name: str, content: bytes) -> Any:
    """The answer to an upload."""
    with server.client() as client:
        return client.post("/process", files={"file": (name, content)})
