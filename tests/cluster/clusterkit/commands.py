"""Programs, run to their end."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

__all__ = ["CommandFailed", "Outcome", "run"]


@dataclass(frozen=True)
class Outcome:
    """What a program wrote, and its exit code."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str


class CommandFailed(AssertionError):
    """A program failed; shows what it wrote."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{' '.join(outcome.command)}: exit code {outcome.code}\n{outcome.err}{outcome.out}")
        self.outcome = outcome


def run(*command: str, text: str | None = None, check: bool = True, seconds: float = 120) -> Outcome:
    """Run a program with ``text`` as its input. With ``check``, any exit code but 0 raises CommandFailed."""
    done = subprocess.run(command, input=text or "", capture_output=True, text=True, timeout=seconds, check=False)
    outcome = Outcome(command, done.returncode, done.stdout, done.stderr)
    if check and outcome.code:
        raise CommandFailed(outcome)
    return outcome
