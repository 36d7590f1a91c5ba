"""Offline runs of W&B that went down with a machine: trials that ended and have none here get theirs from the record.

A search in an object store is stored file by file; a run that ended moments before the machine was lost is in the study
and in its history, and not among the files. Knows no W&B but by the names of its folders.
"""

import optuna

from analysis.own_runs import trial_summary
from analysis.records import SearchFiles, SearchRecord
from analysis.study_source import stored
from search.recorder import summary_of
from search.tracker import SearchIdentity, Tracker
from search.wandb_folders import local_runs
from search.yaml_text import parse_yaml


def write_lost_runs(
    tracker: Tracker, record: SearchRecord, study: optuna.Study, files: SearchFiles, identity: SearchIdentity
) -> list[int]:
    """Write them as the trials' own ends would have. Gives the numbers of these trials."""
    there = {run.id for run in local_runs(files.path / "wandb")}
    trials = study.get_trials(deepcopy=False)
    lost = []
    for trial in record.trials:
        place = files.trial(trial.number)
        is_own = trial.origin is None or trial.origin.kind != "inherited"
        if trial.state == "RUNNING" or not is_own or identity.run_id(trial.number) in there:
            continue
        if not place.document.is_file():
            continue  # it never began, so it never had one
        written, _ = parse_yaml(place.document.read_text("utf-8"))
        summary = summary_of(trials[trial.number].user_attrs["result"]) | trial_summary(stored(trials[trial.number]))
        tracker.start_trial(trial.number, written["document"], history=place.read_history(), summary=summary)
        if samples := place.read_samples():
            tracker.log_samples(trial.number, samples)
        tracker.end_trial(trial.number, state=trial.state, summary=summary, error=trial.error)
        lost.append(trial.number)
    return lost
