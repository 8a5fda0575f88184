"""Programs built from Go modules that are shipped with Flyball, once per user."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import msgspec

from flyball.sandbox.errors import SandboxError
from flyball.sandbox.folders import cache_folder
from flyball.sandbox.toolchain import environment, find_go

FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w")
LEAST_GO = (1, 26)
"""What KEDA's module asks for."""
TAIL = 15
"""Lines of the compiler's last words that an error repeats."""


class Module(msgspec.Struct, frozen=True):
    """A shipped Go module: the packages that become programs, and what else of a dependency is wanted."""

    name: str
    programs: dict[str, str]
    about: str
    """How long its first build takes on two cores."""
    data: tuple[str, str] | None = None
    """A module it depends on, and the folder in it that is copied beside the programs."""


KUBERNETES = Module("kubernetes", {"kubernetes": "."}, "5 minutes")
KWOK = Module("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, "3 minutes")
_KEDA = "github.com/kedacore/keda/v2"
KEDA = Module(
    "keda",
    {"keda-operator": f"{_KEDA}/cmd/operator", "keda-adapter": f"{_KEDA}/cmd/adapter"},
    "10 minutes",
    (_KEDA, "config/crd/bases"),
)
HELM = Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, "2 minutes")
MODULES = {module.name: module for module in (KUBERNETES, KWOK, KEDA, HELM)}


class Progress(msgspec.Struct, frozen=True):
    """How far a build is: packages compiled, of how many (those compiled before are skipped in silence)."""

    text: str
    done: int = 0
    total: int = 0


Watch = Callable[[Progress], None]


def nobody(progress: Progress) -> None:
    """Watch nothing."""


def folder_of(module: Module) -> Path:
    """Where a module's programs lie once they are built; by what they are built from."""
    made = hashlib.sha256(" ".join((platform.system(), platform.machine(), *FLAGS)).encode())
    for path in sorted(_source(module).iterdir()):
        made.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return cache_folder() / f"{module.name}-{made.hexdigest()[:16]}"


def is_built(module: Module) -> bool:
    """Whether its programs lie in the cache."""
    return folder_of(module).is_dir()


def built(module: Module, watch: Watch = nobody) -> Path:
    """The folder of a module's programs, built where they are not yet; or SandboxError."""
    target = folder_of(module)
    if target.is_dir():
        return target
    cache = target.parent
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "build.lock", watch):
        if target.is_dir():  # another has built it while we waited
            return target
        for left in cache.glob(f"{module.name}-*.part-*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        go = find_go(LEAST_GO, cache, lambda text: watch(Progress(text)))
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=cache))
        try:
            _build(module, go, part, watch)
            part.chmod(0o755)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def program(name: str, watch: Watch = nobody) -> tuple[str, ...]:
    """The command that runs a program of Kubernetes; one that lies in KUBEBUILDER_ASSETS goes first."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / name, os.X_OK):
        return (str(Path(assets) / name),)
    return str(built(KUBERNETES, watch) / "kubernetes"), name


def _source(module: Module) -> Path:
    return Path(str(resources.files("flyball.sandbox"))) / "go" / module.name


def _build(module: Module, go: Path, part: Path, watch: Watch) -> None:
    source = _source(module)
    text = f"building {module.name} (once, about {module.about} on two cores)"
    watch(Progress(text))
    packages = list(module.programs.values())
    total = len(_go(go, source, "list", "-mod=readonly", "-deps", *packages).split())
    for name, package in module.programs.items():
        command = ["build", *FLAGS, "-v", "-o", str(part / name), package]
        _go(go, source, *command, line=lambda done: watch(Progress(text, done, total)))
    if module.data is not None:
        dependency, folder = module.data
        at = json.loads(_go(go, source, "list", "-mod=readonly", "-m", "-json", dependency))["Dir"]
        shutil.copytree(Path(at) / folder, part / Path(folder).name, copy_function=shutil.copyfile)
        for path in (part / Path(folder).name, *(part / Path(folder).name).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)  # the module cache is read-only


def _go(go: Path, source: Path, *arguments: str, line: Callable[[int], None] | None = None) -> str:
    """What go says on standard output; `line` hears how many lines it has said on standard error."""
    said: list[str] = []
    with (
        tempfile.TemporaryFile("w+") as out,
        subprocess.Popen(
            ["nice", str(go), *arguments],
            cwd=source,
            env=environment(),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stderr is not None
        try:
            for text in process.stderr:
                said.append(text.rstrip())
                if line is not None:
                    line(len(said))
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
        out.seek(0)
        if code:
            last = "\n".join(said[-TAIL:])
            raise SandboxError(
                f"go {arguments[0]} of {source.name} has failed:\n{last}\n"
                "It needs the Go module proxy (GOPROXY), about 8 GB of disk and 4 GB of memory"
            )
        return out.read()


@contextmanager
def _alone(path: Path, watch: Watch) -> Iterator[None]:
    """One builder at a time on this machine; the others wait."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            watch(Progress("waiting for another build to end"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
