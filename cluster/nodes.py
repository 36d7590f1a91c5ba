"""What the nodes of a joined cluster have in common: whether each sees the search's folder, with the same packages.

Asked before the first trial: a node that sees another folder would train for hours and keep nothing.
"""

import os
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.errors import ClusterError
from spaces.errors import SpecError

_PACKAGES = ("torch", "transformers", "datasets", "tunesmith")
_MARK = ".seen-by-all-"
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeAnswer:
    """What a node says of itself."""

    node: str
    """Its address."""
    sees_mark: bool
    """Whether it sees what this process wrote into the folder."""
    problem: str
    """Why it cannot write there; empty when it can."""
    versions: Mapping[str, str]
    """Of Python and the packages that train."""


def check_nodes(directory: Path) -> tuple[str, ...]:
    """Ask all nodes of the joined cluster at once. Gives what a person should know besides.

    Raises:
        SpecError: one does not see `directory`, or cannot write there.
        ClusterError: one does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return ()
    mark = directory / f"{_MARK}{secrets.token_hex(4)}"
    mark.write_text("")
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(look)
        asked = [
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(mark), node["NodeManagerAddress"]
            )
            for node in nodes
        ]
        answers: list[NodeAnswer] = ray.get(asked, timeout=_TIMEOUT_SECONDS)
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(f"not all nodes answered within {_TIMEOUT_SECONDS:g} s: look at `ray status`.") from None
    finally:
        mark.unlink(missing_ok=True)
    return judge(answers, directory)


def look(mark: str, node: str) -> NodeAnswer:
    """Run on each node: what it sees and has."""
    place, problem = Path(mark), ""
    sees = place.exists()
    if sees:
        own = place.with_name(f"{place.name}-{os.getpid()}-{secrets.token_hex(2)}")
        try:
            own.write_text("")
            own.unlink()
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
    return NodeAnswer(node=node, sees_mark=sees, problem=problem, versions=_versions())


def judge(answers: Sequence[NodeAnswer], directory: Path) -> tuple[str, ...]:
    """What the answers mean.

    Raises:
        SpecError: a node does not see `directory`, or cannot write there.
    """
    if blind := [answer.node for answer in answers if not answer.sees_mark]:
        raise SpecError(
            f"{_nodes(blind)} of the cluster {'do' if len(blind) > 1 else 'does'} not see `{directory}`: checkpoints "
            "and what resumes trials lie there, so it must be on storage that all nodes share (NFS, Lustre, EFS, "
            "Filestore). `--storage` names it.",
            path="storage",
        )
    if mute := [answer for answer in answers if answer.problem]:
        raise SpecError(
            f"{_nodes([answer.node for answer in mute])} of the cluster cannot write to `{directory}`: "
            f"{mute[0].problem}.",
            path="storage",
        )
    return tuple(_differences(answers))


def _differences(answers: Sequence[NodeAnswer]) -> list[str]:
    found = []
    for package in dict.fromkeys(name for answer in answers for name in answer.versions):
        by_version: dict[str, list[str]] = {}
        for answer in answers:
            by_version.setdefault(answer.versions.get(package, "none"), []).append(answer.node)
        if len(by_version) > 1:
            shown = "; ".join(f"{each} on {', '.join(nodes)}" for each, nodes in sorted(by_version.items()))
            found.append(f"nodes have different versions of {package}, so equal trials may differ: {shown}")
    return found


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _nodes(names: Sequence[str]) -> str:
    return f"node{'s' if len(names) > 1 else ''} {', '.join(names)}"
