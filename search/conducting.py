"""The scheduler of a search that runs: as earlier sessions left it, and with all that it says written down."""

import logging
from collections.abc import Mapping
from typing import Any

import optuna

from analysis.records import SearchRecord
from search.conditions import StopConditions
from search.journal import JOURNAL_FILE, Journal
from search.plan import Plan
from search.progress import SearchProgress
from search.recorder import Recorder
from search.schedulers import SCHEDULERS, NumberedScheduler, replay

log = logging.getLogger(__name__)

NOTES = "notes"
"""Attribute of the study: sentences that a person should know of the search as a whole."""


def scheduler_of(
    plan: Plan, before: SearchRecord, study: optuna.Study, recorder: Recorder, progress: SearchProgress
) -> NumberedScheduler:
    """The spec's scheduler, with the rungs as earlier sessions left them."""
    spec, config = plan.spec, plan.spec.search.scheduler
    scheduler = SCHEDULERS[config.name](config, metric=spec.metric, mode=spec.mode, max_resource=plan.max_resource)
    journal = Journal(plan.files.path / JOURNAL_FILE)
    histories = [
        (trial.number, {plan.resource_of(step): value for step, value in trial.intermediate.items()})
        for trial in before.trials
    ]
    replay(scheduler, histories, events=journal.read())
    scheduler.conditions = StopConditions(spec.search.stop_trial_when)
    notes: list[str] = list(study.user_attrs.get(NOTES, []))
    progress.notes.extend(notes)

    def note(sentence: str) -> None:
        log.info(sentence)
        progress.note(sentence)
        notes.append(sentence)
        study.set_user_attr(NOTES, notes)

    def journalled(event: Mapping[str, Any]) -> None:
        journal.append(event)

    scheduler.on_news = note
    if config.name != "none":
        scheduler.on_event = journalled
    return scheduler
