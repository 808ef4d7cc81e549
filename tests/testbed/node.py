"""A cluster with a real node on this machine: containerd, kubelet, kube-proxy and CoreDNS.

All of it, control plane included, lives in namespaces of its own (network, mounts, processes). So addresses,
packet filter rules, mounts and container shims go when the namespaces go, however the test run ends.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed import image_store, images, node_settings
from tests.testbed.cluster import TIMEOUT, Cluster, connected_to
from tests.testbed.control_plane import PROGRAMS, ControlPlane, Plan, start_control_plane
from tests.testbed.network import Network, connected_network
from tests.testbed.processes import Processes
from tests.testbed.requirements import require, require_node
from tests.testbed.waiting import wait_for

NAMESPACES = (
    *("unshare", "--mount", "--propagation", "private", "--net"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
CGROUPS = Path("/sys/fs/cgroup")
NODE = "testbed-node"
NODE_PROGRAMS = ("kubelet", "kube-proxy", "coredns")
SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/snapshots"
BUSYBOX_IMAGE = "testbed.local/busybox:1"


class NodeCluster(Cluster):
    """A cluster whose pods really run. Two images are there: `BUSYBOX_IMAGE` and the one that you import."""

    network: Network
    node_name = NODE
    busybox_image = BUSYBOX_IMAGE

    @property
    def host_address(self) -> str:
        """This machine's address as pods see it: what a test serves there, pods reach."""
        return self.network.host

    def import_image(self, archive: Path, base_name: str | None = None) -> None:
        """Put an image from a `docker save` or OCI archive on the node. `imagePullPolicy` must not be Always.

        Args:
            base_name: the name to give when the archive holds only a tag, as some OCI archives do.
        """
        naming = ["--base-name", base_name] if base_name else []
        self.on_node(
            "ctr", "-a", self.folder / "containerd.sock", "-n", "k8s.io", "images", "import", *naming, archive
        )

    def use_built_image(self, built: str, name: str) -> None:
        """Put an image of the testbed's own store (`image_store`) on the node without copying its files.

        Args:
            built: its name in the store.
            name: its name on the node.
        """
        settings, layers = image_store.settings_of(built), image_store.layers_of(built)
        archive = images.write_hollow_image(self.folder / "built.tar", name, settings, layers)
        self.import_image(archive)
        archive.unlink()
        images.fill(self.folder / "containerd" / "root" / SNAPSHOTS)

    def pretend_gpus(self, count: int) -> None:
        """Let the node say that it has GPUs: pods that ask for one are bound to it, and run without."""
        status = {"capacity": {"nvidia.com/gpu": str(count)}, "allocatable": {"nvidia.com/gpu": str(count)}}
        self.core.patch_node_status(NODE, {"status": status}, _request_timeout=TIMEOUT)

    def on_node(self, *command: str | Path, timeout: float = 900) -> str:
        """Run a command in the node's namespaces, as root. Its output."""
        assert self.control
        return self.control.processes.run(command, timeout=timeout)


@contextmanager
def running_node_cluster() -> Iterator[NodeCluster]:
    """Start it; ready when the node is. It ends with the context."""
    require_node()
    require(*PROGRAMS, *NODE_PROGRAMS)
    mark = uuid.uuid4().hex[:8]  # what the machine can see of it has this in its name
    name = f"stemjob-testbed-{mark}"
    groups = [hierarchy / name for hierarchy in control_group_hierarchies()]
    for group in groups:
        group.mkdir()
    with Processes(unshare=NAMESPACES, remove=groups) as processes:
        hide_the_machine(processes)
        with connected_network(processes, f"stj{mark}") as network:
            plan = Plan(network.node, [2379, 2380, 6443], network.services, real_nodes=True)
            control = start_control_plane(processes, require(*PROGRAMS), plan)
            start_containerd(processes, network)
            start_node(control, network, name)
            with connected_to(NodeCluster(control.kubeconfig, processes.folder, control)) as cluster:
                cluster.network = network
                cluster.apply(*node_settings.dns_service(network))
                wait_for("the node to be ready", lambda: is_ready(cluster), timeout=60)
                yield cluster


def control_group_hierarchies() -> list[Path]:
    """One with version 2 of control groups, one for each controller with version 1."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    # Some names are links to others: cpu and cpuacct to `cpu,cpuacct`.
    return sorted({path.resolve() for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists()})


def hide_the_machine(processes: Processes) -> None:
    """Let the node write where nodes write, without a trace.

    What programs put under fixed paths goes to memory, laid over the machine's own folders. Settings of the
    kernel that have no namespace are covered by files that say what a kubelet wants, so it leaves them alone.
    """
    over = processes.folder / "over"
    over.mkdir()
    lines = [f"mount -t tmpfs testbed {over}"]
    for path in ("/run", "/var/lib", "/var/log"):
        upper, work = (over / f"{path.replace('/', '-')}-{kind}" for kind in ("upper", "work"))
        lines.append(f"mkdir {upper} {work}")
        lines.append(f"mount -t overlay testbed -o lowerdir={path},upperdir={upper},workdir={work} {path}")
    for number, (setting, value) in enumerate(node_settings.KERNEL_SETTINGS.items()):
        lines.append(f"echo {value} > {over}/{number}")
        lines.append(f"mount --bind {over}/{number} /proc/sys/{setting}")
    processes.run(["sh", "-e"], stdin="\n".join(lines))


def start_containerd(processes: Processes, network: Network) -> None:
    """Start containerd and give it the two images that every test needs."""
    folder = processes.folder
    (folder / "cni").mkdir()
    (folder / "cni" / "10-testbed.conflist").write_text(node_settings.cni(folder, network))
    settings = folder / "containerd.toml"
    settings.write_text(node_settings.containerd(folder))
    socket = folder / "containerd.sock"
    processes.start("containerd", ["containerd", "--config", settings])
    processes.wait_ready("containerd", socket.exists)
    for image, command in ((node_settings.PAUSE_IMAGE, ["sleep", "1000000"]), (BUSYBOX_IMAGE, ["sh"])):
        archive = images.write_busybox_image(folder / "image.tar", image, command)
        processes.run(["ctr", "-a", socket, "-n", "k8s.io", "images", "import", archive])
        archive.unlink()


def start_node(control: ControlPlane, network: Network, cgroup: str) -> None:
    """Start kubelet, kube-proxy and CoreDNS, each with an identity of its own."""
    processes, authority, folder = control.processes, control.authority, control.processes.folder
    kubelet, proxy, coredns = require(*NODE_PROGRAMS)
    (folder / "resolv.conf").write_text("# the testbed has no way out\n")
    settings = folder / "kubelet.json"
    settings.write_text(node_settings.kubelet(folder, network, authority.certificate, cgroup))
    identities = {
        "kubelet": authority.client("kubelet", f"system:node:{NODE}", "system:nodes"),
        "kube-proxy": authority.client("kube-proxy", "system:kube-proxy"),
        "coredns": authority.client("coredns", "coredns", "system:masters"),
    }
    kubeconfigs = {who: authority.kubeconfig(who, control.plan.url, pair) for who, pair in identities.items()}
    root = folder / "kubelet"
    processes.start(
        "kubelet",
        [
            *(kubelet, f"--config={settings}", f"--kubeconfig={kubeconfigs['kubelet']}"),
            *(f"--hostname-override={NODE}", f"--node-ip={network.node}"),
            *(f"--root-dir={root}", f"--cert-dir={root / 'pki'}"),
        ],
    )
    processes.start(
        "kube-proxy",
        [
            *(proxy, f"--kubeconfig={kubeconfigs['kube-proxy']}", f"--hostname-override={NODE}"),
            *("--proxy-mode=nftables", f"--cluster-cidr={network.pods}", f"--bind-address={network.node}"),
            "--conntrack-max-per-core=0",  # a limit of the whole machine
        ],
    )
    corefile = folder / "Corefile"
    corefile.write_text(node_settings.corefile(network, kubeconfigs["coredns"]))
    processes.start("coredns", [coredns, "-conf", corefile])


def is_ready(cluster: NodeCluster) -> bool:
    """Whether the node reports that pods can run there; a program that ended fails at once."""
    assert cluster.control
    for name in ("containerd", *NODE_PROGRAMS):
        cluster.control.processes.check_alive(name)
    nodes = cluster.core.list_node(_request_timeout=TIMEOUT).items
    return any(
        condition.type == "Ready" and condition.status == "True"
        for node in nodes
        if node.status and not (node.spec and node.spec.taints)
        for condition in node.status.conditions or []
    )
