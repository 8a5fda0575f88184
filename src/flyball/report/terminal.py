"""The curves of one server as plots in the terminal."""

from __future__ import annotations

import plotext

from flyball.report.curves import Chart, ServerCurves

WIDTH, HEIGHT, NARROWEST = 96, 18, 40
_FRAMES = str.maketrans("┌┐└┘├┤┬┴┼─│", "+++++++++-|")
_MARKERS = "*o#x%@"


def draw(curves: ServerCurves, width: int = WIDTH, color: bool = True, ascii_only: bool = False) -> str:
    """Every chart of a server, one below the other, at most `width` wide."""
    return "\n\n".join(
        _draw(chart, max(min(width, WIDTH), NARROWEST), color, ascii_only) for chart in curves.charts
    )


def _draw(chart: Chart, width: int, color: bool, ascii_only: bool) -> str:
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.limit_size(False, False)
    plotext.plotsize(width, HEIGHT)
    plotext.title(chart.title)
    plotext.xlabel(chart.x_label)
    plotext.ylabel(chart.y_label)
    highest = 0.0
    for number, (name, values) in enumerate(chart.lines.items()):
        points = [(x, y) for x, y in zip(chart.x, values, strict=True) if y is not None]
        if chart.limits and chart.y_label == "ms":
            points = [(x, y) for x, y in points if y <= 3 * max(chart.limits.values())]
        if points:
            highest = max(highest, *(y for _, y in points))
            marker = _MARKERS[number % len(_MARKERS)] if ascii_only else "braille"
            dots = name in chart.points
            marker = "dot" if dots and not ascii_only else marker
            put = plotext.scatter if dots else plotext.plot
            put([x for x, _ in points], [y for _, y in points], label=_label(name), marker=marker)
    for name, limit in chart.limits.items():
        highest = max(highest, limit)
        plotext.plot([chart.x[0], chart.x[-1]], [limit, limit], label=_label(name), marker="-")
    for mark in chart.marks.values():
        if chart.x[0] <= mark <= chart.x[-1]:
            plotext.vline(mark)
    plotext.ylim(*(chart.range or (0, highest * 1.05 or 1)))
    text = str(plotext.build())
    if not color:
        text = str(plotext.uncolorize(text))
    return text.translate(_FRAMES) if ascii_only else text


def _label(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)
