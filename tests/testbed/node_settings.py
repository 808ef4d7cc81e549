"""Settings of the programs on a real node. Pure functions: paths and addresses in, file contents out."""

import json
from pathlib import Path
from typing import Any

from tests.testbed.network import Network
from tests.testbed.packages import CNI_PLUGINS

PAUSE_IMAGE = "testbed.local/pause:1"

KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet wants the kernel to be set to. They have no namespaces: see `Node.hide_the_machine`."""


SHORTAGES = (
    *("memory.available", "pid.available"),
    *("nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"),
)


def containerd(folder: Path) -> str:
    """containerd with root, state and socket of its own."""
    return f"""
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true   # root without CAP_SYS_RESOURCE can't lower it
  disable_apparmor = true
  sandbox_image = "{PAUSE_IMAGE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def cni(folder: Path, network: Network) -> str:
    """How a pod is connected: by a cable of its own to the node, which routes.

    No bridge: between two pods on one bridge the answers of a Service bypass the packet filter and get lost,
    unless a kernel module is loaded.
    """
    addresses = {
        "type": "host-local",
        "dataDir": f"{folder}/addresses",
        "ranges": [[{"subnet": network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "testbed",
            "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}],
        }
    )


def kubelet(folder: Path, network: Network, authority: Path, cgroup: str) -> str:
    """A kubelet that shares the machine with everything else: it reserves and evicts nothing for the node."""
    settings: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "cgroupsPerQOS": True,
        "clusterDNS": [network.dns],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "enforceNodeAllocatable": [],
        "evictionHard": dict.fromkeys(SHORTAGES, "0%"),
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzPort": 0,
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "podLogsDir": f"{folder}/logs",
        "resolvConf": f"{folder}/resolv.conf",
        "volumePluginDir": f"{folder}/volume-plugins",
    }
    return json.dumps(settings, indent=1)


def corefile(network: Network, kubeconfig: Path) -> str:
    """Names of Services and pods; every other name is refused: the testbed has no way out."""
    return f"""
.:53 {{
  bind {network.node}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig}
  }}
}}
"""


def dns_service(network: Network) -> list[dict[str, Any]]:
    """The Service `kube-dns`, whose only end is CoreDNS on the node, outside any pod."""
    name = {"name": "kube-dns", "namespace": "kube-system"}
    kinds = [
        {"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**name, "labels": {"k8s-app": "kube-dns"}},
        "spec": {"clusterIP": network.dns, "ports": kinds},
    }
    ends = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**name, "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "ports": kinds,
        "endpoints": [{"addresses": [network.node], "conditions": {"ready": True}}],
    }
    return [service, ends]
