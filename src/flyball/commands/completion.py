"""`flyball --install-completion`: completion of a shell; its start-up file only where asked for."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from flyball.commands.output import put, say

DONE, WRONG, UNWRITTEN = 0, 2, 4

Shell = Literal["bash", "zsh", "fish"]


def install(app: App, shell: Shell | None, startup: bool) -> int:
    """Write the script to the shell's own folder; returns the exit code."""
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    try:
        found = shell or detect_shell()
    except ShellDetectionError:
        say("flyball: which shell this is cannot be told. Say --shell bash, zsh or fish.")
        return WRONG
    try:
        path = app.install_completion(shell=found, add_to_startup=startup)
    except OSError as error:
        say(f"flyball: {error.filename or 'the completion script'}: cannot be written ({error.strerror}).")
        return UNWRITTEN
    lines = [f"The completion for {found} is in {path}."]
    if found == "bash":
        lines.append(
            "~/.bashrc loads it."
            if startup
            else f"bash-completion loads it by itself; without bash-completion, add to ~/.bashrc: . {path}"
        )
    elif found == "zsh":
        lines.append(
            "~/.zshrc has its folder in fpath."
            if startup
            else f"Unless it is there already, add to ~/.zshrc, before compinit: fpath=({path.parent} $fpath)"
        )
    put("\n".join([*lines, "Start a new shell to use it.", ""]), machine=False)
    return DONE
