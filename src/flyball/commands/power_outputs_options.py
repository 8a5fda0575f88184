"""Options of what is told of watts outside: light, as every start of the command line imports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyball.operator.power_outputs import PowerOutputs


@dataclass(frozen=True)
class Outputs:
    """Alertmanager, Slack and git, for policies that name them."""

    alertmanager: tuple[str, ...] = ()
    """Addresses of all of a cluster: http://alertmanager:9093. Left out, ALERTMANAGER_URL."""
    git_remote: str = ""
    """Where branches are pushed to. Left out, GITOPS_REPO_URL, else GITHUB_REPO on github.com."""
    git_base: str = "main"
    """The branch that they are for."""
    cluster_name: str = ""
    """On alerts and in names of branches: clusters that share them need one each."""
    page_url: str = ""
    """Of our page, for links in messages."""
    secrets: Path | None = None
    """Folder of a mounted Secret: SLACK_WEBHOOK_URL, GITHUB_PAT and so on; goes before the environment."""
    env_file: Path | None = None
    """A file with them, as .env; goes after the environment."""

    def made(self, leads: Callable[[], bool]) -> PowerOutputs:
        """What tells, while `leads` holds; what is set up wrongly is told in the policies' conditions."""
        from flyball.adapters.notify.git import checked_branch
        from flyball.adapters.notify.gitops import PREFIX
        from flyball.adapters.secrets import Secrets
        from flyball.operator.power_outputs import OutputOptions, PowerOutputs

        prefix = f"{PREFIX}{self.cluster_name}/" if self.cluster_name else PREFIX
        checked_branch(f"{prefix}x")
        options = OutputOptions(
            alertmanagers=self.alertmanager,
            labels={"cluster": self.cluster_name} if self.cluster_name else {},
            page=self.page_url,
            remote=self.git_remote,
            base=self.git_base,
            prefix=prefix,
        )
        return PowerOutputs(options, Secrets(self.secrets, file=self.env_file), leads=leads)
