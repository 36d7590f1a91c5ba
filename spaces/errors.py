"""The errors a user can cause. Every one says the rule, what was given and what to do. Knows no file format."""

from collections.abc import Iterable
from difflib import get_close_matches


class SpecError(ValueError):
    """Something in a spec, an override or a command line is wrong. The command line exits with code 2.

    `path` is the dotted key path in the spec (`search.scheduler.grace`), empty when there is none;
    `line` is the 1-based line in the YAML file where that key stands, when known.
    """

    def __init__(self, message: str, *, path: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message}"

    def at(self, path: str, *, line: int | None = None) -> "SpecError":
        """The same error, placed at `path` (in front of a path it may already carry)."""
        joined = ".".join(part for part in (path, self.path) if part)
        return SpecError(self.message, path=joined, line=line if line is not None else self.line)


class OutOfReach(RuntimeError):
    """Something that a search needs while it runs does not answer any more. The record is whole, the search can be
    resumed, and the command line exits with code 4."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean `x`?` for the known name nearest to `name`, or an empty string when none is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""
