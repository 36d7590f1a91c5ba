"""Which trials of a search are confirmed, and by which documents. Knows no seeds and no test split."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.leaderboard import leaderboard
from analysis.records import SearchRecord, TrialRecord
from search.confirmation_sections import ConfirmedConfiguration
from search.plan import Plan
from search.published import recorded_document
from spaces.errors import SpecError


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Trials to be trained again."""

    configurations: tuple[ConfirmedConfiguration, ...]
    """The best first."""
    notes: tuple[str, ...]
    """What a reader should know of them."""


def chosen_configurations(record: SearchRecord, plan: Plan, *, top: int, numbers: Sequence[int] = ()) -> Chosen:
    """The best `top` trials, of several objectives those of the front; or the trials of these `numbers`.

    Raises:
        SpecError: no trial came to its end, or one of `numbers` cannot be trained.
    """
    trials = [_asked_for(record, number) for number in dict.fromkeys(numbers)] or _best(record, top)
    notes = _notes(record, trials)
    configurations: list[ConfirmedConfiguration] = []
    for trial in trials:
        made = _configuration(record, plan, trial)
        same = next((each for each in configurations if each.document == made.document), None)
        if same is not None:
            notes.append(f"{made.name} has the very document of {same.name}: it is not trained twice")
            continue
        configurations.append(made)
    return Chosen(configurations=tuple(configurations), notes=tuple(notes))


def _best(record: SearchRecord, top: int) -> list[TrialRecord]:
    """By rank; of several objectives only what nothing is better than in all of them."""
    ranked = [entry for entry in leaderboard(record) if entry.rank is not None]
    if record.objectives:
        ranked = [entry for entry in ranked if entry.rank == 1]
    if not ranked:
        raise SpecError(f"no trial of `{record.name}` came to its end: there is nothing to confirm.")
    return [entry.trial for entry in ranked[:top]]


def _asked_for(record: SearchRecord, number: int) -> TrialRecord:
    if number >= len(record.trials):
        raise SpecError(f"`{record.name}` has no trial {number}. It has trials 0 to {len(record.trials) - 1}.")
    trial = record.trials[number]
    if trial.state == "RUNNING":
        raise SpecError(f"trial {number} has not ended: `tunesmith resume` goes on with it.")
    if trial.state == "FAIL":
        raise SpecError(f"trial {number} failed ({trial.error}): it would fail again.")
    return trial


def _notes(record: SearchRecord, trials: Sequence[TrialRecord]) -> list[str]:
    notes = []
    if running := record.count("RUNNING"):
        notes.append(f"{running} trial{'s' if running > 1 else ''} of the search had not ended: its best may change")
    for trial in trials:
        if trial.state == "PRUNED":
            notes.append(f"trial {trial.number} was stopped early in the search; here it trains to its end")
        if trial.lineage:
            notes.append(
                f"trial {trial.number} changed its values while it trained; here it has its last ones from the start"
            )
    return notes


def _configuration(record: SearchRecord, plan: Plan, trial: TrialRecord) -> ConfirmedConfiguration:
    names = [objective.name for objective in record.objectives] or [record.metric]
    values = trial.values or ((trial.value,) if trial.value is not None else ())
    if plan.files.trial(trial.number).document.is_file() and not trial.lineage:
        document = recorded_document(plan.files, trial.number)
    else:
        document = plan.space.apply(trial.params)  # another search ran it, or it changed on its way
    return ConfirmedConfiguration(
        name=f"trial {trial.number}",
        kind="trial",
        trial=trial.number,
        params=trial.params,
        searched=dict(zip(names, values, strict=False)),
        document=document,
    )
