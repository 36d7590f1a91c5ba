"""Trials that run again or go on: for each one that a revision names there is a new trial of the study.

The new trial has its folder first and its row last: whatever dies on the way, the next session does the rest, and no
trial is added twice. It starts from links to the files of the earlier one's checkpoint, which take no room and stay
when the earlier trial loses its own.
"""

import shutil
from collections.abc import Callable, Iterable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.lineage import LENGTHENED_AT, ORIGIN, Origin
from analysis.records import SearchFiles, TrialFiles
from search.ledger import ASSIGNMENT
from search.revisions import Revision
from spaces.reports import Progress
from trainables.checkpoints import TrialDirectory
from trainables.folds import all_progress


def carry_out(
    revisions: Iterable[Revision], study: optuna.Study, files: SearchFiles, *, step_of: Callable[[Progress], int]
) -> None:
    """Add the trials that `revisions` ask for and that are not there yet."""
    for index, revision in enumerate(revisions):
        if revision.lengthens:
            study.set_user_attr(LENGTHENED_AT, revision.num_trials)
        trials = study.get_trials(deepcopy=False)
        done = {
            origin.trial
            for trial in trials
            if (origin := Origin.from_attributes(trial.user_attrs)) is not None and origin.revision == index
        }
        for number in (*revision.goes_on, *revision.starts_anew):
            if number not in done:
                _add(
                    study, files, trials[number], revision=index, step_of=step_of,
                    kind="retry" if revision.command == "retry" else "extension",
                    goes_on=number in revision.goes_on,
                )  # fmt: skip


def _add(
    study: optuna.Study,
    files: SearchFiles,
    earlier: FrozenTrial,
    *,
    kind: Any,
    revision: int,
    goes_on: bool,
    step_of: Callable[[Progress], int],
) -> None:
    number = len(study.get_trials(deepcopy=False))
    folder = files.trial(number)
    shutil.rmtree(folder.path, ignore_errors=True)  # of a session that was killed right here
    reached = TrialDirectory(files.trial(earlier.number).path).reached() if goes_on else []
    intermediate: dict[int, float] = {}
    origin = Origin(kind=kind, trial=earlier.number, revision=revision)
    if reached:
        receiver = TrialDirectory(folder.path)
        for place, checkpoint in reached:
            # A fold that has ended stays so: only its trial goes on.
            into = receiver if place.index is None else receiver.fold(place.index)
            into.adopt(checkpoint, goes_on=place.index is None)
        reports = [checkpoint.report for _, checkpoint in reached]
        progress = all_progress(reports)
        _copy_history(files.trial(earlier.number), folder, up_to=progress.evaluation)
        last = step_of(progress)
        intermediate = {step: value for step, value in earlier.intermediate_values.items() if step <= last}
        origin = Origin(
            kind=kind, trial=earlier.number, revision=revision,
            seconds_before=sum(report.seconds for report in reports),
            energy_before_wh=(reports[-1].usage and reports[-1].usage.energy_wh) or 0.0,
        )  # fmt: skip
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=earlier.params,
            distributions=earlier.distributions,
            intermediate_values=intermediate,
            user_attrs={ASSIGNMENT: earlier.user_attrs[ASSIGNMENT], ORIGIN: origin.to_json()},
        )
    )


def _copy_history(source: TrialFiles, target: TrialFiles, *, up_to: int) -> None:
    rows = source.read_history()
    ends = [index for index, row in enumerate(rows) if row.get("evaluation") == up_to]
    target.rewrite_history(rows[: ends[-1] + 1] if ends else [])
