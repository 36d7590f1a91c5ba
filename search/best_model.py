"""The best trial of a search that is over, as W&B wants it with its model. Knows no W&B."""

import optuna

from analysis.kept import local_checkpoint
from analysis.own_runs import trial_summary
from analysis.records import SearchFiles, SearchRecord
from analysis.study_source import stored
from search.recorder import summary_of
from search.tracker import TrainedModel
from search.yaml_text import parse_yaml


def best_model(record: SearchRecord, files: SearchFiles, study: optuna.Study) -> TrainedModel | None:
    """None when no trial finished, or the checkpoint of the best is not kept."""
    best = record.best
    if best is None or best.checkpoint is None or (best.origin is not None and best.origin.kind == "inherited"):
        return None
    written, _ = parse_yaml(files.trial(best.number).document.read_text("utf-8"))
    trial = study.get_trials(deepcopy=False)[best.number]
    return TrainedModel(
        number=best.number,
        document=written["document"],
        history=record.history_of(best.number),
        summary=summary_of(trial.user_attrs["result"]) | trial_summary(stored(trial)),
        checkpoint=local_checkpoint(best.checkpoint),
        facts={
            "search": record.name,
            "objective": record.metric,
            "value": best.value,
            "metrics": best.metrics,
            "params": best.params,
        },
        samples=files.trial(best.number).read_samples(),
    )
