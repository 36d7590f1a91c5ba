"""A queue for a person: who waits, who runs on how many lanes, and why somebody waits. Knows no queue."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from cluster.queueing import EVERYBODY, Amount
from search.units import show_seconds

_RUNNING = ("STARTING", "RUNNING")


def queue_table(searches: Sequence[Mapping[str, Any]], *, now: float | None = None) -> Table:
    """What runs, then what waits in the order of their priorities, then what has ended."""
    now = time.time() if now is None else now
    table = Table(box=None, pad_edge=False)
    for title in ("", "search", "user", "priority", "state", "lanes", "a lane", "since", ""):
        table.add_column(title, overflow="fold", justify="right" if title in ("", "priority", "lanes") else "left")
    table.columns[-1].justify = "left"
    position = 0
    for each in sorted(searches, key=_turn):
        waits = each["state"] == "QUEUED"
        position += waits
        table.add_row(
            str(position) if waits else "", each["name"], each["user"], str(each["priority"]),
            "stopping" if each["stopping"] else each["state"].lower(), _lanes(each), str(Amount(**each["lane"])),
            _since(each, now), each["message"],
        )  # fmt: skip
    return table


def quota_table(quotas: Mapping[str, Mapping[str, float | None]]) -> Table:
    """All quotas, everybody's last."""
    table = Table(box=None, pad_edge=False)
    for title in ("user", "GPUs", "CPUs", "weight"):
        table.add_column(title)
    for user in sorted(quotas, key=lambda user: (user == EVERYBODY, user)):
        quota = quotas[user]
        limits = ("no limit" if quota[name] is None else f"{quota[name]:g}" for name in ("gpus", "cpus"))
        table.add_row("everybody else" if user == EVERYBODY else user, *limits, f"{quota['weight']:g}")
    return table


def _turn(each: Mapping[str, Any]) -> tuple[int, int, int]:
    group = 0 if each["state"] in _RUNNING else 1 if each["state"] == "QUEUED" else 2
    return group, -each["priority"] if group == 1 else 0, each["number"]


def _lanes(each: Mapping[str, Any]) -> str:
    most = "auto" if each["most_lanes"] is None else str(each["most_lanes"])
    return f"{each['lanes']} of {most}" if each["state"] in _RUNNING else f"wants {most}" if each["state"] == (
        "QUEUED"
    ) else ""  # fmt: skip


def _since(each: Mapping[str, Any], now: float) -> str:
    if each["ended_at"] is not None:
        return datetime.fromtimestamp(each["ended_at"]).astimezone().strftime("%Y-%m-%d %H:%M")
    began = each["submitted_at"] if each["state"] == "QUEUED" else each["started_at"] or now
    return show_seconds(max(0.0, now - began))
