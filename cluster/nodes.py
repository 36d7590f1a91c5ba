"""What the nodes of a joined cluster have in common: whether each can write where the search is kept, a folder that all
of them see or an object store; and whether they have the same packages. Knows no search.

Asked before the first trial: a node that sees another folder would train for hours and keep nothing.
"""

import os
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.errors import ClusterError
from spaces.errors import SpecError
from spaces.store import Store, check_writable, is_store, store_url

_PACKAGES = ("torch", "transformers", "datasets", "tunesmith")
_MARK = ".seen-by-all-"
_TIMEOUT_SECONDS = 120.0
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeAnswer:
    """What a node says of itself."""

    node: str
    """Its address."""
    problem: str = ""
    """Why it cannot write there; empty when it can."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of Python and the packages that train."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What nodes that can all write there have in common."""

    num_nodes: int
    """How many were asked."""
    differences: tuple[str, ...] = ()
    """What a person should know besides, in sentences."""


def check_nodes(place: str | Path) -> Agreement:
    """Ask all nodes of the joined cluster at once about `place`, a folder or the URL of one in an object store.

    Raises:
        SpecError: at `storage.path`: one of them cannot write there, or does not see what this process wrote.
        ClusterError: one does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if is_store(place):
        check_writable(Store.at(place))  # of this process: the reason is said best from here
    if len(nodes) < 2:
        return Agreement(num_nodes=len(nodes))
    mark = None if is_store(place) else _mark(Path(place))
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(look)
        asked = [
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(mark or store_url(place)), node["NodeManagerAddress"]
            )
            for node in nodes
        ]
        answers: list[NodeAnswer] = ray.get(asked, timeout=_TIMEOUT_SECONDS)
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(f"not all nodes answered within {_TIMEOUT_SECONDS:g} s: look at `ray status`.") from None
    finally:
        if mark is not None:
            mark.unlink(missing_ok=True)
    return judge(answers, place)


def look(place: str, node: str) -> NodeAnswer:
    """Run on each node: what it can do beside the mark at `place`, or in that store, and what it has."""
    problem = _problem_with_store(place) if is_store(place) else _problem_beside(Path(place))
    return NodeAnswer(node=node, problem=problem, versions=_versions())


def judge(answers: Sequence[NodeAnswer], place: str | Path) -> Agreement:
    """What the answers mean.

    Raises:
        SpecError: at `storage.path`: a node cannot write to `place`; with its reason, and what to do.
    """
    if unable := [answer for answer in answers if answer.problem]:
        advice = (
            "give it credentials by its environment or its role"
            if is_store(place)
            else "name a path that all nodes share (`--storage`; NFS, Lustre, EFS, Filestore), or `s3://` or `gs://`"
        )
        raise SpecError(
            f"{_nodes([answer.node for answer in unable])} of the cluster cannot write where the search is kept, and "
            f"with it checkpoints and what resumes trials: {unable[0].problem.rstrip('.')}. To do: {advice}.",
            path="storage.path",
        )
    return Agreement(num_nodes=len(answers), differences=tuple(_differences(answers)))


def _problem_with_store(url: str) -> str:
    try:
        check_writable(Store.at(url))
    except SpecError as error:
        return error.message
    return ""


def _problem_beside(mark: Path) -> str:
    if not mark.exists():
        return f"it does not see `{mark.parent}` as this machine has it"
    own = mark.with_name(f"{mark.name}-{os.getpid()}-{secrets.token_hex(2)}")
    try:
        own.write_text("seen", "utf-8")
        is_same = own.read_text("utf-8") == "seen"
        own.unlink()
    except OSError as error:
        return f"{(error.strerror or str(error)).lower()} in `{mark.parent}`"
    return "" if is_same else f"`{mark.parent}` does not give back what was written"


def _mark(folder: Path) -> Path:
    """A file that all nodes must see, in the folder or in the nearest one above it that is there already."""
    folder = folder.expanduser().resolve()
    while not folder.is_dir():
        folder = folder.parent
    mark = folder / f"{_MARK}{secrets.token_hex(4)}"
    try:
        mark.write_text("", "utf-8")
    except OSError as error:
        raise SpecError(f"cannot write to `{folder}`: {error.strerror}.", path="storage.path") from None
    return mark


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
    others = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"node{'s' if len(names) > 1 else ''} {', '.join(names[:_MOST_NAMED])}{others}"
