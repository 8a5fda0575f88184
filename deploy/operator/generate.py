"""Write dist/ and manifests/yamls/deploy.yaml from the manifests beside this, or show an overlay of them.

python deploy/operator/generate.py write [--image IMAGE] [--into FOLDER]
python deploy/operator/generate.py show OVERLAY [--image IMAGE] [--with COMPONENT]... [--without-crds]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import chart
import yaml

HERE = Path(__file__).resolve().parent
DEPLOY, ROOT = HERE.parent, HERE.parents[1]

OVERLAYS = ("recommend-only", "cluster", "one-namespace")
COMPONENTS = ("act", "wva", "boost", "power", "power-enforce", "monitoring")
WRITTEN = "# Written by `make build-installer` from deploy/operator: change it there.\n"
INSTALL = "# Flyball's operator and its kinds, in mode recommend: kubectl apply -f install.yaml\n"
SAMPLE = """\
# The operator as the document of Inferno's controller deploys it; its kinds come by `make install`.
"""
ELSEWHERE = """\
        # An optimizer elsewhere, a REST server; without these it is built in.
        # - name: INFERNO_HOST
        #   value: "inferno-optimizer.inferno.svc.cluster.local"
        # - name: INFERNO_PORT
        #   value: "80"
"""


def version() -> str:
    """Flyball's."""
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def default_image() -> str:
    """What is deployed where nothing else is said."""
    return f"flyball:{version()}"


def repository_and_tag(image: str) -> tuple[str, str]:
    """registry:5000/flyball:0.1.0 in two parts; ValueError where it has no tag."""
    repository, _, tag = image.rpartition(":")
    if not repository or "/" in tag or "@" in image:
        raise ValueError(
            f'the image is "{image}": give it a tag, as in {image.partition(":")[0]}:{version()}'
        )
    return repository, tag


def kubectl(*arguments: str) -> str:
    """What it answers."""
    done = subprocess.run([str(DEPLOY / "kubectl"), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"kubectl {arguments[0]} has failed: {done.stderr.strip()}")
    return done.stdout


def built(overlay: str, image: str, components: Sequence[str] = ()) -> str:
    """An overlay with further components, of one image, as one stream of YAML."""
    for name, known in ((overlay, OVERLAYS), *((one, COMPONENTS) for one in components)):
        if name not in known:
            raise ValueError(f'there is no "{name}": there are {", ".join(known)}')
    source = HERE / "overlays" / overlay
    kustomization = yaml.safe_load((source / "kustomization.yaml").read_text())
    repository, tag = repository_and_tag(image)
    with tempfile.TemporaryDirectory(prefix="flyball-kustomize-") as folder:
        here = Path(folder).resolve()

        def moved(path: Path) -> str:
            return os.path.relpath(path.resolve(), here)

        resources = [moved(source / one) for one in kustomization["resources"]]
        there = [source / one for one in kustomization.get("components", ())]
        wanted = [HERE / one for one in components]
        taken = dict.fromkeys(moved(one) for one in (*there, *wanted))
        kustomization |= {"resources": resources, "components": list(taken)}
        # The overlay's own patches come after its components, so they also hold for those that are added.
        kustomization["images"] = [{"name": "flyball", "newName": repository, "newTag": tag}]
        (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization, sort_keys=False))
        return kubectl("kustomize", str(here))


def split(text: str) -> list[str]:
    """The documents of a stream."""
    return text.removesuffix("\n").split("\n---\n")


def without_crds(documents: Iterable[str]) -> list[str]:
    """All but the kinds themselves: with them goes every object of them."""
    return [one for one in documents if "\nkind: CustomResourceDefinition\n" not in f"\n{one}\n"]


def files(image: str) -> dict[str, str]:
    """All that is generated, by path from the root."""
    documents = split(built("recommend-only", image))
    sample = "\n---\n".join(without_crds(documents)) + "\n"
    sample, times = re.subn(r"(?m)^        env:\n", lambda match: match[0] + ELSEWHERE, sample)
    assert times == 1
    made = {
        "dist/install.yaml": INSTALL + WRITTEN + "\n---\n".join(documents) + "\n",
        "manifests/yamls/deploy.yaml": SAMPLE + WRITTEN + sample,
    }
    repository, tag = repository_and_tag(image)
    for name, text in chart.files(HERE, DEPLOY / "crds", version(), repository, tag).items():
        made[f"dist/chart/{name}"] = text
    return made


def write(image: str, into: Path) -> None:
    """Write them below a folder, and take away what of the chart is no more."""
    made = files(image)
    for old in (into / "dist" / "chart").rglob("*"):
        if old.is_file() and old.relative_to(into).as_posix() not in made:
            old.unlink()
    for name, text in made.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    writing, showing = commands.add_parser("write"), commands.add_parser("show")
    writing.add_argument("--into", type=Path, default=ROOT)
    showing.add_argument("overlay")
    showing.add_argument("--with", action="append", default=[], dest="components")
    showing.add_argument("--without-crds", action="store_true")
    for one in (writing, showing):
        one.add_argument("--image", default=default_image())
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "write":
            write(asked.image, asked.into)
            return 0
        documents = split(built(asked.overlay, asked.image, asked.components))
        print("\n---\n".join(without_crds(documents) if asked.without_crds else documents))
    except ValueError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
