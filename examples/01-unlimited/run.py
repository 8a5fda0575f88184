"""Lesson 1: the cheapest plan when every accelerator can be had in any number.

    python examples/01-unlimited/run.py [FOLDER]

prints the plan and writes FOLDER/01-unlimited.html; FOLDER is `build` where it is not given.
"""

import sys
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from flyball.adapters.files import read_fleet
from flyball.decide.plan import plan
from flyball.report.page import page
from flyball.report.sentences import summary
from flyball.report.tables import plan_table, resource_table
from flyball.solve.candidates import candidates

FLEET = Path(__file__).resolve().parents[1] / "fleet.yaml"
NAME = Path(__file__).resolve().parent.name


def main(folder: Path) -> None:
    fleet = read_fleet(FLEET)
    fleet = replace(fleet, settings=replace(fleet.settings, unlimited=True))
    sized = candidates(fleet)  # every server on every accelerator, sized and priced
    made = plan(fleet, sized)

    console = Console(width=160)
    console.print(plan_table(fleet, made), resource_table(made), *summary(made), sep="\n")

    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{NAME}.html"
    report.write_text(page("Unlimited accelerators", fleet, made, sized), "utf-8")
    console.print(f"report: {report}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build"))
