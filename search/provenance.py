"""What trains: versions of packages, the machine, and the commit of the folder one started in. Knows no search."""

import sys
from importlib.metadata import version
from typing import Any

from search.surroundings import surroundings

_VERSIONS_OF = ("tunesmith", "torch", "transformers", "datasets", "ray", "optuna", "wandb")


def provenance() -> dict[str, Any]:
    """`python`, `versions`, `machine`, and, started inside a git repository, `git`: its `commit` and whether it
    `has_changes`."""
    return {
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in _VERSIONS_OF},
        **surroundings(),
    }
