"""The scheduler of a search that runs: as earlier sessions left it, and with all that it says written down."""

import logging

import optuna

from analysis.records import SearchRecord
from search.conditions import StopConditions
from search.journal import JOURNAL_FILE, Journal
from search.numbered_scheduler import NumberedScheduler, is_ahead_of_study, replay
from search.plan import Plan
from search.progress import SearchProgress
from search.racing import Race
from search.recorder import Recorder
from search.scheduler_checks import mutated_paths
from search.schedulers import SCHEDULERS, Members

log = logging.getLogger(__name__)

NOTES = "notes"
"""Attribute of the study: sentences that a person should know of the search as a whole."""


def scheduler_of(
    plan: Plan, before: SearchRecord, study: optuna.Study, recorder: Recorder, progress: SearchProgress
) -> NumberedScheduler:
    """The spec's scheduler, with the rungs as earlier sessions left them."""
    spec, config = plan.spec, plan.spec.search.scheduler.settled(num_trials=plan.num_trials)
    members = Members(
        space=plan.space,
        mutate=mutated_paths(spec, plan.space) if config.is_population else (),
        seed=spec.search.seed,
        first_assignment=lambda number: plan.space.from_optuna_params(study.get_trials(deepcopy=False)[number].params),
    )
    scheduler = SCHEDULERS[config.name](
        config, metric=spec.metric, mode=spec.mode, max_resource=plan.max_resource, members=members
    )
    journal = Journal(plan.files.path / JOURNAL_FILE)
    histories = [
        (trial.number, {plan.resource_of(step): value for step, value in trial.intermediate.items()})
        for trial in before.current
    ]
    # What is stored of a search that was lost with its machine may have more in its journal than in its study.
    running = {trial.number for trial in before.trials if trial.state == "RUNNING"}
    journal.forget(lambda event: is_ahead_of_study(event, num_trials=len(before.trials), running=running))
    replay(scheduler, histories, events=journal.read())
    scheduler.conditions = StopConditions(spec.search.stop_trial_when)
    if spec.search.racing is not None and spec.search.folds is not None:
        scheduler.race = Race(spec.search.racing, spec.search.folds, metric=spec.metric, mode=spec.mode)
        for trial in before.current:
            scheduler.race.note(trial.number, trial.fold_values)
    notes: list[str] = list(study.user_attrs.get(NOTES, []))
    progress.notes.extend(notes)

    def note(sentence: str) -> None:
        log.info(sentence)
        progress.note(sentence)
        notes.append(sentence)
        study.set_user_attr(NOTES, notes)

    scheduler.on_news = note
    scheduler.on_hand_overs = recorder.hand_over
    if config.name != "none":
        scheduler.on_event = journal.append
    for number in scheduler.paused:
        recorder.wait_again(number)
    scheduler.repeat_hand_overs()
    return scheduler
