"""Lesson 2: the load changes, and the plan follows; accelerators are unlimited.

    python examples/02-load-change/run.py [FOLDER]

prints the plan and the change from before to after, and writes FOLDER/02-load-change.html;
FOLDER is `build` where it is not given.
"""

import sys
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from flyball.adapters.files import read_fleet
from flyball.decide.plan import plan
from flyball.decide.what_if import change
from flyball.report.page import page
from flyball.report.sentences import summary
from flyball.report.tables import change_table, plan_table, resource_table
from flyball.solve.candidates import candidates

FLEET = Path(__file__).resolve().parents[1] / "fleet.yaml"
NAME = Path(__file__).resolve().parent.name
CHANGE = (
    "load[checkout-help]*4, load[voice-agent]*2, load[support-chat]*2, load[report-writer]*1.3, "
    "load[mail-drafts]*0.4, load[translation]*0.5, load[playground]*0.25"
)


def main(folder: Path) -> None:
    fleet = read_fleet(FLEET)
    fleet = replace(fleet, settings=replace(fleet.settings, unlimited=True))
    before = plan(fleet)

    changed = change(fleet, CHANGE)
    sized = candidates(changed)
    after = plan(changed, sized)

    console = Console(width=160)
    console.print(plan_table(changed, after), resource_table(after), *summary(after), sep="\n")
    console.print("\nChange:", change_table(before, after), sep="\n")

    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{NAME}.html"
    report.write_text(page("Load change, unlimited accelerators", changed, after, sized, before), "utf-8")
    console.print(f"report: {report}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build"))
