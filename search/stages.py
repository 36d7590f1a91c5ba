"""Searches that are stages of something larger: run, gone on with, or found done, whichever it takes.

What asks for a stage can be killed at any time and asks again: nothing runs twice. Knows nothing of what the stages
are for.
"""

import shutil

from rich.console import Console

from analysis.records import SearchRecord
from analysis.sources import read_records
from analysis.study_place import study_place
from search.load import LoadedSpec
from search.plan import Plan, make_plan
from search.recorded_spec import resolved_spec
from search.run import SearchOutcome, conducting, resume_search, start_search
from search.spec import SearchSpec
from spaces.store import store_of


def run_stage(spec: SearchSpec, *, address: str | None, console: Console) -> SearchOutcome:
    """Bring the search of `spec` to its end, from wherever it is."""
    plan = plan_of(spec)
    if plan.files.path.exists() and study_place(plan.files) is None:
        _clear_away(plan)
    if not plan.files.path.exists():
        return start_search(plan, address=address, console=console)
    if (record := finished(plan)) is not None:
        return SearchOutcome(
            record=record, files=plan.files, was_interrupted=False, unsynced_runs=[], sync_command=None
        )
    return resume_search(plan.files.path, address=address, console=console)


def finished(plan: Plan) -> SearchRecord | None:
    """The record of a search that has nothing left to do."""
    if not plan.files.leaderboard.is_file():
        return None
    record = read_records(plan.files.path)
    ended = len(record.trials) - record.count("RUNNING")
    return record if ended == len(record.trials) and ended >= plan.num_trials else None


def plan_of(spec: SearchSpec) -> Plan:
    """The plan of a spec that was made here, and not read from a file."""
    return make_plan(LoadedSpec(spec=spec, raw=resolved_spec(spec), lines={}, source=spec.name))


def _clear_away(plan: Plan) -> None:
    """Killed before it had a study: nothing has run there."""
    store = store_of(plan.files.path)
    with conducting(plan.files):
        if store is not None:
            store.remove(*store.names())
        shutil.rmtree(plan.files.path)
