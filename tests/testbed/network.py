"""The network of a real node: a namespace of its own, tied to this machine by one pair of virtual cables.

All of the node's addresses, routes, bridges and packet filter rules live in the namespace and go with it.
On the machine's own side there is one interface with two routes, for as long as the node lives.
"""

import fcntl
import ipaddress
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.testbed import packages
from tests.testbed.binaries import cache_folder
from tests.testbed.processes import Processes, ServerError


@dataclass(frozen=True)
class Network:
    """A range of addresses 10.N.0.0/16 that is free on this machine."""

    number: int
    interface: str

    @property
    def host(self) -> str:
        """This machine's address, as the node and its pods see it."""
        return f"10.{self.number}.0.1"

    @property
    def node(self) -> str:
        """The node's address."""
        return f"10.{self.number}.0.2"

    @property
    def pods(self) -> str:
        return f"10.{self.number}.1.0/24"

    @property
    def services(self) -> str:
        return f"10.{self.number}.2.0/24"

    @property
    def dns(self) -> str:
        """The address of the Service that resolves names."""
        return f"10.{self.number}.2.10"


@contextmanager
def connected_network(processes: Processes, interface: str) -> Iterator[Network]:
    """Tie the namespace that these processes live in to the machine, by a new interface. Untied at the end.

    When the test run is killed, the namespace ends with its last process, and the kernel removes both ends.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "network.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once must not choose the same addresses
        network = Network(free_number(), interface)
        ip(
            "link",
            "add",
            network.interface,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(processes.pid),
        )
        ip("address", "add", f"{network.host}/30", "dev", network.interface)
    ip("link", "set", network.interface, "up")
    for arguments in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{network.node}/30", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
    ):
        processes.run(["ip", *arguments])
    processes.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])  # of the namespace alone
    for reached in (network.pods, network.services):
        ip("route", "add", reached, "via", network.node, "dev", network.interface)
    try:
        yield network
    finally:
        ip("link", "delete", network.interface)


def free_number() -> int:
    """An N for which no route of this machine leads into 10.N.0.0/16."""
    taken = []
    for route in json.loads(ip("-json", "-4", "route", "show", "table", "all")):
        destination = route.get("dst", "default")
        if destination != "default":
            taken.append(ipaddress.ip_network(destination, strict=False))
    for number in range(201, 255):
        if not any(network.overlaps(ipaddress.ip_network(f"10.{number}.0.0/16")) for network in taken):
            return number
    raise ServerError("no free range of addresses 10.N.0.0/16 on this machine")


def ip(*arguments: str) -> str:
    """Run `ip` on the machine's own side."""
    program = packages.find("ip") or "ip"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
