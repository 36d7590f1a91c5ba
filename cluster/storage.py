"""Whether every node of a cluster can write, read and remove where a search is to be kept: a folder that all of them
see, or an object store. Asked before the search starts; knows no search.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.connect import ClusterError
from spaces.errors import SpecError
from spaces.store import Store, check_writable, is_store, store_url

_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeAnswer:
    """What one node can do there."""

    node: str
    """Its address."""
    problem: str = ""
    """Why it cannot; empty when it can."""


def check_nodes_can_write(place: str | Path) -> int:
    """Ask all nodes of the joined cluster at once. Gives how many there are.

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
        return len(nodes)
    mark = _mark(place)
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
    judge(answers, place)
    return len(nodes)


def look(place: str, node: str) -> NodeAnswer:
    """Run on each node: whether it can write, read and remove beside the mark at `place`, or in that store."""
    if is_store(place):
        try:
            check_writable(Store.at(place))
        except SpecError as error:
            return NodeAnswer(node=node, problem=error.message)
        return NodeAnswer(node=node)
    mark = Path(place)
    if not mark.exists():
        return NodeAnswer(node=node, problem=f"it does not see `{mark.parent}` as this machine has it")
    own = mark.with_name(f"{mark.name}-{os.getpid()}-{secrets.token_hex(2)}")
    try:
        own.write_text("seen", "utf-8")
        is_same = own.read_text("utf-8") == "seen"
        own.unlink()
    except OSError as error:
        return NodeAnswer(node=node, problem=f"{error.strerror or error} in `{mark.parent}`".lower())
    return NodeAnswer(node=node, problem="" if is_same else f"`{mark.parent}` does not give back what was written")


def judge(answers: Sequence[NodeAnswer], place: str | Path) -> None:
    """Refuse a place that not all can write to.

    Raises:
        SpecError: with the node, its reason, and what to do.
    """
    unable = [answer for answer in answers if answer.problem]
    if not unable:
        return
    names = ", ".join(answer.node for answer in unable[:5])
    others = f" and {len(unable) - 5} more" if len(unable) > 5 else ""
    advice = (
        "give it credentials by its environment or its role"
        if is_store(place)
        else "use a path that all nodes share (NFS, Lustre, EFS, Filestore), or `s3://` or `gs://`"
    )
    raise SpecError(
        f"node{'s' if len(unable) > 1 else ''} {names}{others} of the cluster cannot write where the search is kept: "
        f"{unable[0].problem.rstrip('.')}. To do: {advice}.",
        path="storage.path",
    )


def _mark(place: str | Path) -> Path | None:
    """A file that all nodes must see, in the folder or in the nearest one above it that is there already."""
    if is_store(place):
        return None
    folder = Path(place).expanduser().resolve()
    while not folder.is_dir():
        folder = folder.parent
    mark = folder / f".tunesmith-seen-by-all-{secrets.token_hex(4)}"
    try:
        mark.write_text("", "utf-8")
    except OSError as error:
        raise SpecError(f"cannot write to `{folder}`: {error.strerror}.", path="storage.path") from None
    return mark
