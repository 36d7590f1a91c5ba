"""What every section of a spec has in common. Knows no section."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a spec: unknown keys are refused, values never change after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
