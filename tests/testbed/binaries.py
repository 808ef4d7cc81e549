"""Which programs the testbed needs, which pinned Go module makes each, and where a built one lies."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).with_name("tools")
KUBERNETES = "1.37.2"
HELM = "4.3.1"


@dataclass(frozen=True)
class Tool:
    """A Go module in `tools/` and what comes of it.

    Attributes:
        name: the module's folder.
        package: what to build: `.` for the module's own main.go, or a command named in its go.mod (`tool`).
        links: the names it is called by, when one program plays several parts.
        variables: strings that the linker sets, such as the version that a program reports.
    """

    name: str
    package: str = "."
    links: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def module(self) -> Path:
        return MODULES / self.name

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of the programs it makes."""
        return self.links or (self.name,)

    @property
    def ldflags(self) -> str:
        """Without symbols, with the variables."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables)])

    @property
    def folder(self) -> Path:
        """Where its programs lie once built: another place whenever a file of the module changes."""
        return cache_folder() / f"{self.name}-{self.fingerprint()}"

    def fingerprint(self) -> str:
        """A hash of all that decides what is built."""
        digest = hashlib.sha256(f"{self.package}\0{self.links}\0{self.ldflags}".encode())
        for file in sorted(self.module.glob("*")):
            digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()[:16]

    def built(self) -> bool:
        """Whether its programs are there. Its folder appears in one rename: there is never half of it."""
        return self.folder.is_dir()


def kubernetes_version(package: str) -> tuple[tuple[str, str], ...]:
    """Linker variables by which a Kubernetes program knows its version (without: v0.0.0-master)."""
    major, minor, _ = KUBERNETES.split(".")
    return (
        (f"{package}.gitVersion", f"v{KUBERNETES}"),
        (f"{package}.gitMajor", major),
        (f"{package}.gitMinor", minor),
    )


TOOLS = {
    tool.name: tool
    for tool in (
        # In the order of building: quick ones first.
        Tool("etcd"),
        Tool("fake-gcs-server", package="github.com/fsouza/fake-gcs-server"),
        Tool("kubectl", variables=kubernetes_version("k8s.io/component-base/version")),
        Tool("coredns"),
        Tool(
            "helm",
            package="helm.sh/helm/v4/cmd/helm",
            variables=(("helm.sh/helm/v4/internal/version.version", f"v{HELM}"),),
        ),
        Tool(
            "kube",
            links=("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
            variables=kubernetes_version("k8s.io/component-base/version"),
        ),
    )
}


def cache_folder() -> Path:
    """Outside the tree, shared by all checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "stemjob-testbed"


def program(name: str) -> Path | None:
    """The built program of that name, None when it is not built."""
    for tool in TOOLS.values():
        if name in tool.programs:
            return tool.folder / name if tool.built() else None
    raise KeyError(f"no module in {MODULES} makes a program {name}")
