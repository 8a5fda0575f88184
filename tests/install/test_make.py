"""The targets of the documents, and the tools that they take; with tools that only note what is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flyball.sandbox.build import KUBERNETES, is_built
from tests.install.made import ROOT

NAMED = (
    "install",
    "uninstall",
    "deploy",
    "undeploy",
    "build-installer",
    "docker-build",
    "docker-push",
    "cluster-up",
    "cluster-down",
    "help",
)
"""By the documents."""
TOOL = """#!/bin/sh
echo "$*" >> "$ASKED"
case "$1" in
version) echo "{\\"clientVersion\\": {\\"major\\": \\"1\\", \\"minor\\": \\"$MINOR\\"}}" ;;
kustomize)
  cat "$2/kustomization.yaml" > "$ASKED.built"
  printf 'kind: CustomResourceDefinition\\nname: kinds\\n---\\nkind: Deployment\\nname: operator\\n' ;;
apply|delete) [ "$3" = - ] || [ "$4" = - ] && cat > "$ASKED.given" ;;
esac
exit 0
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl, or docker."""
    path = tmp_path / "bin" / "kubectl"
    path.parent.mkdir()
    path.write_text(TOOL)
    path.chmod(0o755)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("MINOR", "30")
    for name in ("KUBECTL", "DOCKER", "IMG", "OVERLAY", "WITH", "MAKEFLAGS", "MAKELEVEL"):
        monkeypatch.delenv(name, raising=False)
    return path


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Without making .venv anew: the tests run in it."""
    there = ("--no-print-directory", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.flyball")
    return subprocess.run(["make", *there, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)


def asked(tool: Path) -> list[str]:
    return (tool.parent.parent / "asked").read_text().splitlines()


def test_make_alone_lists_every_target() -> None:
    listed = re.findall(r"(?m)^  make ([a-z-]+) +\S", make().stdout)
    assert set(NAMED) <= set(listed)
    assert listed == re.findall(r"(?m)^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text())
    assert make("help").stdout == make().stdout
    (phony,) = re.findall(r"\.PHONY: ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text())
    assert set(listed) <= set(phony.replace("\\\n", " ").split())


def test_the_kinds_are_installed_and_taken_out(tool: Path) -> None:
    for target in ("install", "uninstall"):
        assert make(target, f"KUBECTL={tool}").returncode == 0
    assert asked(tool) == ["apply -k deploy/crds", "delete --ignore-not-found -k deploy/crds"]


def test_the_operator_is_deployed_and_the_kinds_stay(tool: Path) -> None:
    options = ("IMG=r.example/controller:tag", "OVERLAY=cluster", "WITH=wva monitoring")
    done = make("deploy", f"KUBECTL={tool}", *options)
    assert (done.returncode, done.stderr) == (0, "")
    built = yaml.safe_load((tool.parent.parent / "asked.built").read_text())
    assert built["images"] == [{"name": "flyball", "newName": "r.example/controller", "newTag": "tag"}]
    assert [Path(one).name for one in built["components"]] == ["act", "wva", "monitoring"]
    given = tool.parent.parent / "asked.given"
    assert [one["kind"] for one in yaml.safe_load_all(given.read_text())] == [
        "CustomResourceDefinition",
        "Deployment",
    ]
    assert make("undeploy", f"KUBECTL={tool}", *options).returncode == 0
    assert [one["kind"] for one in yaml.safe_load_all(given.read_text())] == ["Deployment"]
    assert [line for line in asked(tool) if not line.startswith("kustomize")] == [
        "apply -f -",
        "delete --ignore-not-found -f -",
    ]


def test_nothing_is_applied_where_nothing_could_be_built(tool: Path) -> None:
    done = make("deploy", f"KUBECTL={tool}", "OVERLAY=clusters")
    assert done.returncode != 0
    assert 'there is no "clusters": there are recommend-only, cluster, one-namespace' in done.stderr
    assert not (tool.parent.parent / "asked").exists()


def test_the_image_is_built_and_pushed(tool: Path) -> None:
    assert make("docker-build", "docker-push", f"DOCKER={tool}", "IMG=r.example/c:tag").returncode == 0
    assert asked(tool) == ["build -f deploy/Dockerfile -t r.example/c:tag .", "push r.example/c:tag"]


def test_the_cluster_is_the_sandbox() -> None:
    assert (
        f"{sys.prefix}/bin/flyball sandbox up --detach --fleet x"
        in make("-n", "cluster-up", "ARGS=--fleet x").stdout
    )
    assert f"{sys.prefix}/bin/flyball sandbox down" in make("-n", "cluster-down").stdout


@pytest.mark.parametrize("target", ["docker-build", "docker-push"])
def test_that_there_is_no_builder_is_said(target: str) -> None:
    done = make(target, "DOCKER=")
    assert done.returncode != 0
    assert f"{target}: neither docker nor podman is here" in done.stdout


def which(tool: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """deploy/kubectl, with the tool first on PATH."""
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(ROOT / "deploy" / "kubectl"), "version", "--client"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
        timeout=60,
    )


def test_kubectl_is_the_one_that_is_named_else_that_of_path(tool: Path) -> None:
    assert '"minor": "30"' in which(tool).stdout
    assert asked(tool) == ["version --client -o json", "version --client"]
    assert which(tool, KUBECTL="echo own").stdout == "own version --client\n"


@pytest.mark.skipif(not shutil.which("timeout"), reason="there is no timeout")
def test_a_build_of_keda_that_takes_too_long_is_left(tool: Path) -> None:
    flyball = tool.with_name("flyball")
    flyball.write_text('#!/bin/sh\ncase " $* " in *" keda "*) sleep 30 ;; esac\n')
    flyball.chmod(0o755)
    done = make("-o", "prometheus", "sandbox-tools", f"BIN={tool.parent}", "KEDA_LIMIT=0.1")
    assert done.returncode == 0
    assert "KEDA is not built (within 0.1 s): its tests are left out" in done.stdout


@pytest.mark.parametrize(("fails", "code"), [("", 0), ("keda", 0), ("helm", 2)])
def test_without_keda_the_tests_go_on_and_without_kubernetes_they_do_not(
    tool: Path, monkeypatch: pytest.MonkeyPatch, fails: str, code: int
) -> None:
    monkeypatch.setenv("FAILS", fails)
    flyball = tool.with_name("flyball")
    flyball.write_text(
        '#!/bin/sh\necho "$*" >> "$ASKED"\ncase " $* " in *" ${FAILS:-none} "*) exit 5 ;; esac\n'
    )
    flyball.chmod(0o755)
    done = make("-o", "prometheus", "sandbox-tools", f"BIN={tool.parent}")
    assert done.returncode == code
    assert asked(tool)[0] == "sandbox build kubernetes kwok helm"
    assert asked(tool)[1:] == ([] if fails == "helm" else ["sandbox build keda"])
    assert ("its tests are left out" in done.stdout) == (fails == "keda")


@pytest.mark.slow
@pytest.mark.skipif(not is_built(KUBERNETES), reason="no Kubernetes is built here")
@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "flyball").exists(), reason="there is no .venv here")
@pytest.mark.parametrize("minor", ["24", "11", ""])
def test_a_kubectl_that_is_too_old_is_passed_over(tool: Path, minor: str) -> None:
    done = which(tool, MINOR=minor)
    assert "Kustomize Version" in done.stdout
    assert asked(tool) == ["version --client -o json"]
