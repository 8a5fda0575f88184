"""The curves of one server as plots in the terminal."""

from __future__ import annotations

import plotext

from flyball.report.curves import ServerCurves

WIDTH, HEIGHT = 96, 18


def draw(curves: ServerCurves, width: int = WIDTH, color: bool = True) -> str:
    """Every chart of a server, one below the other."""
    parts = []
    for chart in curves.charts:
        plotext.clear_figure()
        plotext.theme("clear")
        plotext.plotsize(min(width, 140), HEIGHT)
        plotext.title(chart.title)
        plotext.xlabel(chart.x_label)
        plotext.ylabel(chart.y_label)
        highest = 0.0
        for name, values in chart.lines.items():
            points = [(x, y) for x, y in zip(chart.x, values, strict=True) if y is not None]
            if chart.limits and chart.y_label == "ms":
                points = [(x, y) for x, y in points if y <= 3 * max(chart.limits.values())]
            if points:
                highest = max(highest, *(y for _, y in points))
                plotext.plot([x for x, _ in points], [y for _, y in points], label=name, marker="braille")
        for name, limit in chart.limits.items():
            highest = max(highest, limit)
            plotext.plot([chart.x[0], chart.x[-1]], [limit, limit], label=name, marker="-")
        for mark in chart.marks.values():
            if chart.x[0] <= mark <= chart.x[-1]:
                plotext.vline(mark)
        plotext.ylim(0, highest * 1.05 or 1)
        parts.append(plotext.build() if color else plotext.uncolorize(plotext.build()))
    return "\n\n".join(parts)
