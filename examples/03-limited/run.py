"""Lesson 3: the cards are counted: somebody takes its second choice, somebody gets only part.

    python examples/03-limited/run.py [FOLDER]

prints the plan and writes FOLDER/03-limited.html; FOLDER is `build` where it is not given.
"""

import sys
from pathlib import Path

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
    sized = candidates(fleet)  # every server on every accelerator, sized and priced
    made = plan(fleet, sized)

    console = Console(width=160)
    console.print(plan_table(fleet, made), resource_table(made), *summary(made), sep="\n")

    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{NAME}.html"
    report.write_text(page("Limited accelerators", fleet, made, sized), "utf-8")
    console.print(f"report: {report}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build"))
