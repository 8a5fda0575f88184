"""The image's definition: its steps, done in a plain folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.install.made import OPERATOR, ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
OFFLINE = re.compile(r"NewConnectionError|NameResolutionError|Temporary failure in name resolution")


def steps() -> list[tuple[str, str]]:
    """Instructions with their arguments."""
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text()).replace("\\\n", " ")
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def carried(name: str) -> bool:
    """Whether .dockerignore lets a path through; it names what it lets through, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return any(name == one[1:] or name.startswith(f"{one[1:]}/") for one in lines if one.startswith("!"))


def test_all_that_is_copied_is_in_the_context() -> None:
    copied = [shlex.split(rest)[:-1] for word, rest in steps() if word == "COPY" and "--from" not in rest]
    names = [name for one in copied for name in one]
    assert names
    for name in names:
        assert (ROOT / name).exists()
        assert carried(name)
    assert not carried(".git")
    assert not carried("tests")


def test_it_runs_as_the_manifests_say() -> None:
    deployment, _ = yaml.safe_load_all((OPERATOR / "base" / "deployment.yaml").read_text())
    security = deployment["spec"]["template"]["spec"]["securityContext"]
    assert ("USER", f"{security['runAsUser']}:{security['runAsGroup']}") in steps()
    ports = {
        str(port["containerPort"])
        for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    (exposed,) = [rest.split() for word, rest in steps() if word == "EXPOSE"]
    assert ports <= set(exposed)
    for word, rest in steps():
        if "pip install" in rest and "--no-index" not in rest:
            assert word == "RUN"
            assert (
                rest.count("pip install")
                == rest.count("--require-hashes")
                == rest.count("--only-binary :all:")
            )


@pytest.mark.slow
def test_its_steps_make_a_flyball_that_runs(tmp_path: Path) -> None:
    here, environment = tmp_path / "src", dict(os.environ)
    environment["PATH"] = f"{Path(sys._base_executable).parent}{os.pathsep}{environment['PATH']}"  # type: ignore[attr-defined]
    entry: list[str] = []

    def inside(text: str) -> str:
        return re.sub(r"(?<![\w.])/(opt|wheels|src|var)\b", lambda match: f"{tmp_path}{match[0]}", text)

    for word, rest in steps():
        if word == "WORKDIR":
            here = Path(inside(rest))
            here.mkdir(parents=True, exist_ok=True)
        elif word == "COPY" and "--from" not in rest:
            *names, target = shlex.split(rest)
            for name in names:
                copy(ROOT / name, here / target, whole=len(names) == 1 and not target.endswith("/"))
        elif word == "RUN":
            # What pip has fetched before need not be fetched again, nor all of it be compiled.
            command = inside(rest).replace("--no-cache-dir ", "--disable-pip-version-check --quiet ")
            command = command.replace("pip install ", "pip install --no-compile ")
            done = subprocess.run(
                command, shell=True, cwd=here, env=environment, capture_output=True, text=True, timeout=400
            )
            if done.returncode and OFFLINE.search(done.stderr):
                pytest.skip("no package index can be reached from here")
            assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
        elif word == "ENV":
            for name, value in (one.split("=", 1) for one in inside(rest).split()):
                environment[name] = value.replace(f"${name}", environment.get(name, ""))
        elif word == "ENTRYPOINT":
            entry = yaml.safe_load(rest)

    def answer(*words: str) -> str:
        for one in ("PYTHONPATH", "VIRTUAL_ENV"):
            environment.pop(one, None)
        done = subprocess.run(
            [*entry, *words], cwd=here, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = shutil.which(entry[0], path=environment["PATH"])
    assert where == str(tmp_path / "opt" / "flyball" / "bin" / "flyball")
    assert answer("--version").strip() == "0.1.0"
    for command in ("operator", "loop", "serve"):
        assert f"Usage: flyball {command}" in answer(command, "--help")
    # What is not code came along, too.
    assert "27 of 27 servers served" in answer("plan", "--sample")
    assert "kind: CustomResourceDefinition" in answer("crds", "server")


def copy(source: Path, target: Path, *, whole: bool) -> None:
    """As COPY does: a folder's contents, a file under its name."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return
    path = target if whole else target / source.name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
