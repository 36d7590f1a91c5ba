"""What `wandb:ENTITY/PROJECT/GROUP` names. Knows no W&B."""

from dataclasses import dataclass

from spaces.errors import SpecError

_FORMS = "`wandb:ENTITY/PROJECT/GROUP`, `wandb:ENTITY/PROJECT`, `wandb:PROJECT` or `wandb:ENTITY/PROJECT/sweeps/ID`"


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbAddress:
    """Runs of one project."""

    entity: str | None
    """User or team; None for the default one of whoever is logged in."""
    project: str
    """The project."""
    group: str | None = None
    """Only the runs of this group."""
    sweep: str | None = None
    """Only the runs of this sweep."""
    search: str | None = None
    """Which search of ours, by the beginning of its runs' ids, where several have the same name."""

    def filters(self) -> dict[str, str]:
        """As W&B wants them."""
        return {name: value for name, value in (("group", self.group), ("sweep", self.sweep)) if value is not None}

    def __str__(self) -> str:
        parts = [self.entity or "", self.project]
        parts += ["sweeps", self.sweep] if self.sweep else [self.group] if self.group else []
        return f"wandb:{'/'.join(parts) if self.entity or len(parts) > 2 else self.project}"


def parse_address(text: str) -> WandbAddress:
    """The address in `wandb:...`; an entity that is left empty (`wandb:/PROJECT/GROUP`) is the default one.

    Raises:
        SpecError: it is none.
    """
    place, _, search = text.removeprefix("wandb:").partition("#")
    parts = place.split("/")
    entity, project, rest = (None, parts[0], []) if len(parts) == 1 else (parts[0], parts[1], parts[2:])
    if not project or "" in rest or place.startswith("//"):
        raise SpecError(f"expected {_FORMS}, but got `{text}`.")
    is_sweep = len(rest) == 2 and rest[0] == "sweeps"
    return WandbAddress(
        entity=entity or None,
        project=project,
        group="/".join(rest) if rest and not is_sweep else None,  # names of groups may hold slashes
        sweep=rest[1] if is_sweep else None,
        search=search or None,
    )
