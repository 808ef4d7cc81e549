"""What a real node might change on the machine that it runs on, read before and after."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.testbed import packages
from tests.testbed.node import control_group_hierarchies

Snapshot = dict[str, str]

SETTINGS = ("vm", "kernel", "net/ipv4", "net/ipv6", "net/bridge", "net/netfilter", "fs/inotify", "user")
RESTLESS = (
    "kernel/random",
    "kernel/ns_last_pid",
    "kernel/pty/nr",
    "kernel/perf",
    "net/netfilter/nf_conntrack_count",
)
"""Settings of the kernel that change by themselves."""

FOLDERS = (
    "/etc",
    "/etc/cni",
    "/opt",
    "/run",
    "/run/netns",
    "/usr/libexec",
    "/var/lib",
    "/var/lib/cni",
    "/var/log",
)


def snapshot() -> Snapshot:
    """Everything by name: kernel settings, packet filter, network, mounts, control groups, known folders."""
    return {
        **{f"sysctl {name}": value for name, value in kernel_settings()},
        "packet filter": run("nft", "list", "ruleset"),
        "routing rules": run("ip", "rule"),
        **{f"route {line}": "" for line in run("ip", "-4", "route", "show", "table", "all").splitlines()},
        **{f"interface {link['ifname']}": "" for link in json.loads(run("ip", "-json", "link"))},
        **{f"mount {line.split()[4]}": "" for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        **{f"control group {path}": "" for root in control_group_hierarchies() for path in folders_in(root)},
        **{f"file {path}": "" for folder in FOLDERS for path in in_folder(Path(folder))},
    }


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """What has changed, one line each. A setting that is new (its module was loaded) is no change."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            lines.append(f"gone: {name}")
        elif name not in before:
            if not name.startswith("sysctl"):
                lines.append(f"new: {name}")
        elif before[name] != after[name]:
            lines.append(f"changed: {name}: {before[name]!r} -> {after[name]!r}")
    return lines


def kernel_settings() -> Iterator[tuple[str, str]]:
    root = Path("/proc/sys")
    for top in SETTINGS:
        for path in sorted((root / top).rglob("*")):
            name = str(path.relative_to(root))
            if path.is_file() and not name.startswith(RESTLESS):
                try:
                    yield name, path.read_text().strip()
                except OSError:
                    continue  # some can only be written


def run(name: str, *arguments: str) -> str:
    """What a program prints."""
    program = packages.find(name)
    assert program, f"{name} is not installed"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def folders_in(path: Path) -> list[Path]:
    return [each for each in in_folder(path) if each.is_dir()]


def in_folder(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else []
