"""Runs on a W&B server -> the record of a search. Two requests for hundreds of runs: histories are read when they are
looked into. Writes nothing, and lets W&B say nothing.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.records import SearchRecord
from analysis.run_records import record_of_runs
from analysis.runs import Run
from analysis.wandb_address import WandbAddress, parse_address
from spaces.errors import SpecError, did_you_mean
from spaces.objectives import Mode

_RUNS_A_REQUEST = 500
_ROWS_A_REQUEST = 10_000
_POINTS_OF_A_CURVE = 1000
_TIMEOUT_SECONDS = 30
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How W&B writes them in a history."""


def read_wandb(source: str, *, metric: str | None, mode: Mode | None) -> SearchRecord:
    """The record at `wandb:...`.

    Raises:
        SpecError: there is no key, no server, no such project or no run; or runs of others without a metric.
    """
    address = parse_address(source)
    with _explained(address):
        api = _api()
        runs = _read_runs(api, address)
        if metric is None and address.sweep is not None:
            metric, mode = _metric_of(api, address, mode)
    return record_of_runs(runs, source=source, search=address.search, metric=metric, mode=mode)


def _api() -> Any:
    import wandb

    for name in ("wandb", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    try:
        return wandb.Api(timeout=_TIMEOUT_SECONDS)
    except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
        if settings.api_key:
            raise
        raise SpecError(
            "reading from W&B needs an API key, and there is none: run `wandb login`, or set WANDB_API_KEY."
        ) from error


def _read_runs(api: Any, address: WandbAddress) -> list[Run]:
    entity = address.entity or api.default_entity
    found = api.runs(f"{entity}/{address.project}", filters=address.filters(), per_page=_RUNS_A_REQUEST, lazy=False)
    try:
        runs = [_run(run) for run in found]
    except ValueError as error:
        if "Could not find project" not in str(error):
            raise
        projects = [project.name for project in api.projects(entity)]
        listed = f" It has {', '.join(sorted(projects)[:10])}." if projects else ""
        raise SpecError(
            f"`{entity}` has no project `{address.project}` that you may see."
            f"{did_you_mean(address.project, projects)}{listed}"
        ) from None
    if not runs:
        raise SpecError(_nothing(api, entity, address))
    return runs


def _nothing(api: Any, entity: str, address: WandbAddress) -> str:
    """What there is instead, where a group or a sweep has no runs."""
    if address.group is None:
        return f"`{address}` has no runs."
    groups = {run.group for run in api.runs(f"{entity}/{address.project}", per_page=_RUNS_A_REQUEST) if run.group}
    return (
        f"`{entity}/{address.project}` has no run in the group `{address.group}`."
        f"{did_you_mean(address.group, groups)} Its groups: {', '.join(sorted(groups)[:10]) or 'none'}."
    )


def _metric_of(api: Any, address: WandbAddress, mode: Mode | None) -> tuple[str | None, Mode | None]:
    """What a sweep says that it optimises."""
    sweep = api.sweep(f"{address.entity or api.default_entity}/{address.project}/{address.sweep}")
    metric = (sweep.config or {}).get("metric") or {}
    goal: Mode = "max" if metric.get("goal") == "maximize" else "min"
    return metric.get("name"), mode or goal


def _run(run: Any) -> Run:
    def rows() -> Iterator[Mapping[str, Any]]:
        return (_finite(row) for row in run.scan_history(page_size=_ROWS_A_REQUEST))

    def values(key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = run.history(samples=_POINTS_OF_A_CURVE, keys=[key], pandas=False)
        return [_finite(row) for row in found]

    return Run(
        id=run.id,
        name=run.name,
        state=run.state,
        group=run.group or "",
        job_type=run.job_type or "",
        config=run.config,
        summary=run.summary_metrics,
        rows=rows,
        values=values,
    )


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _NOT_FINITE.get(value, value) if isinstance(value, str) else value for name, value in row.items()}


@contextlib.contextmanager
def _explained(address: WandbAddress) -> Iterator[None]:
    """What W&B raises, for a person."""
    import requests
    import wandb

    try:
        yield
    except SpecError:
        raise
    except (wandb.errors.Error, requests.RequestException, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SpecError(f"cannot read `{address}` from W&B: {reason}") from error
