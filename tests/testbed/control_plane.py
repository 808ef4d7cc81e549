"""A Kubernetes control plane as ordinary processes: etcd, apiserver, controller-manager, scheduler."""

import ipaddress
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from tests.testbed.pki import Authority, KeyPair
from tests.testbed.processes import Processes, direct, free_ports

CLIENTS = ("kube-controller-manager", "kube-scheduler")
PROGRAMS = ("etcd", "kube-apiserver", *CLIENTS)

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # What the tests themselves and Kubernetes' own parts do is of no interest.
        {
            "level": "None",
            "userGroups": ["system:masters", "system:nodes", "system:serviceaccounts:kube-system"],
        },
        {
            "level": "None",
            "users": ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"],
        },
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class Plan:
    """How a control plane is laid out.

    Attributes:
        host: the address that all of it listens on.
        ports: for etcd's clients, etcd's peers, and the apiserver.
        service_range: addresses for Services.
        real_nodes: whether kubelets will join. If so, a node that falls silent is marked as not ready (as
            nodes that tests make up would be after 40 s), the Service `kubernetes` gets an address, and the
            apiserver may ask kubelets for logs.
    """

    host: str = "127.0.0.1"
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    service_range: str = "10.96.0.0/24"
    real_nodes: bool = False

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.ports[2]}"

    def service_address(self, number: int) -> str:
        """The address with that number in the range of Services; number 1 is the apiserver itself."""
        return str(ipaddress.ip_network(self.service_range)[number])


@dataclass(frozen=True)
class ControlPlane:
    """A control plane that answers."""

    plan: Plan
    processes: Processes
    authority: Authority
    kubeconfig: Path
    audit_log: Path
    tls: ssl.SSLContext

    def stop_apiserver(self) -> None:
        """Connections are refused from now on."""
        for program in CLIENTS:
            self.processes.stop(program)
        self.processes.stop("kube-apiserver")

    def start_apiserver(self) -> None:
        """Start it again, with all that it knew, and wait until it is ready."""
        self.processes.restart("kube-apiserver")
        self.processes.wait_ready("kube-apiserver", lambda: is_ready(self.plan.url, self.tls))
        # New ones: those that met no apiserver would wait for up to half a minute before they look again.
        for program in CLIENTS:
            self.processes.restart(program)


def start_control_plane(processes: Processes, programs: list[Path], plan: Plan) -> ControlPlane:
    """Start all parts and wait until the apiserver is ready.

    Args:
        programs: paths of `PROGRAMS`, in their order.
    """
    etcd, apiserver, controller_manager, scheduler = programs
    authority = Authority(processes.folder / "pki")
    admin = authority.client("admin", "admin", "system:masters")
    kubeconfig = authority.kubeconfig("admin", plan.url, admin)
    tokens = authority.signing_key("tokens")

    processes.start("etcd", [etcd, *etcd_flags(processes.folder, plan)])
    processes.start(
        "kube-apiserver", [apiserver, *apiserver_flags(processes.folder, plan, authority, tokens)]
    )
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    tls.load_cert_chain(admin.certificate, admin.key)
    processes.wait_ready("kube-apiserver", lambda: is_ready(plan.url, tls))
    # Only now: the controller-manager gives up when it finds no apiserver for 10 s.
    manager = authority.kubeconfig(
        "manager", plan.url, authority.client("manager", "system:kube-controller-manager")
    )
    processes.start(
        "kube-controller-manager",
        [controller_manager, *controller_manager_flags(plan, authority, tokens, manager)],
    )
    scheduling = authority.kubeconfig(
        "scheduler", plan.url, authority.client("scheduler", "system:kube-scheduler")
    )
    processes.start(
        "kube-scheduler", [scheduler, f"--kubeconfig={scheduling}", "--leader-elect=false", "--secure-port=0"]
    )
    audit_log = processes.folder / "audit.log"
    return ControlPlane(plan, processes, authority, kubeconfig, audit_log, tls)


def etcd_flags(folder: Path, plan: Plan) -> list[str]:
    """One member, data in the testbed's folder, not flushed to disk."""
    clients, peers = (f"http://127.0.0.1:{port}" for port in plan.ports[:2])
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_flags(folder: Path, plan: Plan, authority: Authority, tokens: KeyPair) -> list[str]:
    """RBAC and Node authorization. Pod Security and ValidatingAdmissionPolicy are on by default."""
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    serving = authority.server("kube-apiserver", [plan.host, "127.0.0.1", plan.service_address(1), *names])
    policy = folder / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY))
    flags = [
        f"--etcd-servers=http://127.0.0.1:{plan.ports[0]}",
        f"--bind-address={plan.host}",
        f"--advertise-address={plan.host}",
        f"--secure-port={plan.ports[2]}",
        f"--service-cluster-ip-range={plan.service_range}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={authority.certificate}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={tokens.key}",
        f"--service-account-key-file={tokens.certificate}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={folder / 'audit.log'}",
    ]
    if not plan.real_nodes:
        return [*flags, "--endpoint-reconciler-type=none"]  # it would refuse to advertise a loopback address
    kubelets = authority.client("kubelets", "kube-apiserver", "system:masters")
    return [
        *flags,
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={kubelets.certificate}",
        f"--kubelet-client-key={kubelets.key}",
    ]


def controller_manager_flags(
    plan: Plan, authority: Authority, tokens: KeyPair, kubeconfig: Path
) -> list[str]:
    """All controllers: Jobs, time to live after a Job, garbage collection, namespaces, service accounts …"""
    return [
        f"--kubeconfig={kubeconfig}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={tokens.key}",
        f"--root-ca-file={authority.certificate}",
        f"--controllers={'*' if plan.real_nodes else '*,-node-lifecycle-controller'}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=200",  # tests make and delete much in a short time
        "--kube-api-burst=400",
    ]


def is_ready(url: str, tls: ssl.SSLContext) -> bool:
    """Whether the apiserver says that it is ready."""
    try:
        with direct(tls).open(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, or 500 because some part of it is still starting
        return False
