"""The programs of the testbed are built once, from pinned modules, into a folder that appears whole."""

import fcntl
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.testbed import binaries, build
from tests.testbed.binaries import MODULES, TOOLS, Tool
from tests.testbed.requirements import missing_counterpart, require
from tests.testbed.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def greeter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A tool that greets by the name it is called by, with a cache of its own."""
    if go := shutil.which("go"):  # Go's cache is the usual one, or each test compiles the standard library
        monkeypatch.setenv("GOCACHE", subprocess.check_output([go, "env", "GOCACHE"], text=True).strip())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(binaries, "MODULES", tmp_path)
    module = tmp_path / "greeter"
    module.mkdir()
    (module / "go.mod").write_text("module greeter\n\ngo 1.26.0\n")
    (module / "main.go").write_text(
        'package main\n\nimport "os"\n\nvar greeting = "?"\n\n'
        'func main() { os.Stdout.WriteString(greeting + " from " + os.Args[0]) }\n'
    )
    tool = Tool("greeter", links=("hello", "welcome"), variables=(("main.greeting", "hi"),))
    monkeypatch.setitem(TOOLS, "greeter", tool)
    return tool


def need_go() -> None:
    if not shutil.which("go"):
        missing_counterpart("Go is not installed: the testbed can't be built (1.26 is needed)")


def test_a_tool_is_built_under_each_of_its_names(greeter: Tool) -> None:
    need_go()
    assert binaries.program("hello") is None

    assert build.main(["greeter"]) == 0

    for name in ("hello", "welcome"):
        path = binaries.program(name)
        assert path
        assert subprocess.check_output([path], text=True) == f"hi from {path}"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_stopped_takes_its_compiler_with_it(tmp_path: Path, stop: signal.Signals) -> None:
    slow = tmp_path / "bin" / "go"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 60\n")
    slow.chmod(0o755)
    environment = {"PATH": f"{slow.parent}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.testbed.build", "etcd"], cwd=REPOSITORY, env=environment
    )
    wait_for("the compiler", lambda: (tmp_path / "pid").exists())
    compiler = int((tmp_path / "pid").read_text())

    running.send_signal(stop)

    assert running.wait(20) == 128 + stop
    wait_for("the compiler to be gone", lambda: not Path(f"/proc/{compiler}").exists())
    assert [path.name for path in (tmp_path / "cache" / "stemjob-testbed").iterdir()] == ["lock"]


def test_a_failed_build_leaves_nothing_behind(greeter: Tool, capfd: pytest.CaptureFixture[str]) -> None:
    need_go()
    (greeter.module / "main.go").write_text("package main\n\nfunc main() { no such thing }\n")

    assert build.main(["greeter"]) == 1

    assert "go build of greeter ended with status 1" in capfd.readouterr().err
    assert [path.name for path in binaries.cache_folder().iterdir()] == ["lock"]


def test_a_changed_module_is_another_tool(greeter: Tool) -> None:
    before = greeter.folder
    (greeter.module / "go.sum").write_text("changed")
    assert greeter.folder != before


def test_without_go_a_sentence_says_so(
    greeter: Tool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert build.main(["greeter"]) == 1
    assert "Go is not installed" in capfd.readouterr().err


def test_two_builds_do_not_run_at_once(greeter: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build", lambda tool: tool.folder.mkdir())
    binaries.cache_folder().mkdir(parents=True)
    second = threading.Thread(target=build.main, args=(["greeter"],))
    with (binaries.cache_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second.start()
        time.sleep(0.3)
        assert not greeter.built()
    second.join()
    assert greeter.built()


def test_missing_tools_are_listed(greeter: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--missing", "greeter"]) == 1
    assert capsys.readouterr().out == "greeter\n"


def test_an_unknown_tool_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build.main(["docker"])
    assert "unknown: docker" in capsys.readouterr().err


def test_a_second_build_does_nothing() -> None:
    programs = require(*(program for tool in TOOLS.values() for program in tool.programs))
    before = [path.stat().st_mtime_ns for path in programs]
    done = subprocess.run(
        [sys.executable, "-m", "tests.testbed.build"], cwd=REPOSITORY, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert [path.stat().st_mtime_ns for path in programs] == before


@pytest.mark.parametrize(
    ("name", "arguments", "version"),
    [
        ("kube-apiserver", ["--version"], f"Kubernetes v{binaries.KUBERNETES}"),
        ("kubelet", ["--version"], f"Kubernetes v{binaries.KUBERNETES}"),
        ("kubectl", ["version", "--client"], f"Client Version: v{binaries.KUBERNETES}"),
        ("helm", ["version", "--short"], f"v{binaries.HELM}"),
        ("etcd", ["--version"], "etcd Version: 3.7."),
        ("coredns", ["-version"], "CoreDNS-1.15."),
    ],
)
def test_a_built_program_tells_its_version(name: str, arguments: list[str], version: str) -> None:
    [path] = require(name)
    assert version in subprocess.check_output([path, *arguments], text=True)


@pytest.mark.parametrize(
    "tool", [tool for tool in TOOLS.values() if tool.name != "greeter"], ids=lambda tool: tool.name
)
def test_a_module_is_pinned(tool: Tool) -> None:
    assert (tool.module / "go.sum").is_file()
    assert (tool.module / "go.mod").read_text().startswith(f"module stemjob.dev/tests/testbed/{tool.name}\n")


@pytest.mark.parametrize(
    ("module", "dependency", "version"),
    [
        ("kube", "k8s.io/kubernetes", binaries.KUBERNETES),
        ("kubectl", "k8s.io/kubectl", binaries.KUBERNETES.replace("1.", "0.", 1)),
        ("helm", "helm.sh/helm/v4", binaries.HELM),
    ],
)
def test_programs_report_the_version_that_they_are_built_from(
    module: str, dependency: str, version: str
) -> None:
    content = (MODULES / module / "go.mod").read_text()
    assert re.search(
        rf"^(require )?\s*{re.escape(dependency)} v{re.escape(version)}( // indirect)?$",
        content,
        re.MULTILINE,
    )
