"""A fit to one's own measurements as one HTML page that needs nothing else."""

from __future__ import annotations

import msgspec

from flyball.calibrate.fit import Fit
from flyball.report import profile_fit
from flyball.report.html import inside, templates
from flyball.spec.profile import Profile
from flyball.wire.measurements import Measurements


def fit_page(model: str, profile: Profile, measured: Measurements, fit: Fit, lead: str = "") -> str:
    """The whole page."""
    name = f"{model} on {profile.accelerator}"
    charts = profile_fit.charts(measured.points, fit)
    data = {"servers": [{"server": name, "note": "measured and fitted", "charts": charts}]}
    environment = templates("flyball.report")
    environment.policies["json.dumps_kwargs"] = {}  # keys stay in order
    return environment.get_template("fit.html").render(
        **inside(),
        title=f"Flyball fit: {name}",
        lead=lead,
        summary=profile_fit.summary(measured.points, fit),
        parameters=profile_fit.parameter_rows(fit),
        names=profile_fit.POINT_NAMES,
        points=profile_fit.point_rows(measured.points, fit),
        left_out=measured.left_out,
        data=msgspec.to_builtins(data),
    )
