"""What all pages share: how templates are read, and what a page that needs nothing else has inside it."""

from __future__ import annotations

from importlib import resources

import jinja2


def templates(package: str) -> jinja2.Environment:
    """The templates of a package, which escape everything and know every name that they use."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inside() -> dict[str, str]:
    """Scripts and styles of a page that needs nothing else, by the names that its template has for them."""
    static = resources.files("flyball.report") / "static"
    files = {
        "uplot_js": "uPlot.iife.min.js",
        "uplot_css": "uPlot.min.css",
        "plots_js": "plots.js",
        "style": "report.css",
    }
    return {name: (static / file).read_text("utf-8") for name, file in files.items()}
