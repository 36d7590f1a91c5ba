"""Export a trial's model: find its checkpoint, or train it once more, and write a standard folder with a model card."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.confirmation import read_confirmations
from analysis.kept import local_checkpoint
from analysis.model_card import CardFacts, model_card
from analysis.records import SearchFiles, SearchRecord, TrialRecord
from analysis.sources import read_records
from analysis.wording import show_metric
from cluster.connect import local_cpus
from search.load import RECORDED
from search.plan import Plan
from search.published import recorded_document
from search.recorded_spec import recorded_plan
from search.yaml_text import parse_yaml
from spaces.errors import SpecError
from spaces.reports import TrialReport
from trainables.checkpoints import TrialDirectory
from trainables.config import TrialConfig
from trainables.export import ExportedModel, export_model
from trainables.preparation import cached_card
from trainables.trial import run_trial

BEST = "best"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    """Where."""
    trial: TrialRecord
    """Whose model it is."""
    task: str
    """What it has learned."""
    model: ExportedModel
    """How it is loaded."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `export --json`."""
        return {
            "folder": str(self.folder),
            "trial": self.trial.number,
            "value": self.trial.value,
            "pipeline": self.model.pipeline,
            "auto_class": self.model.auto_class,
            "model_type": self.model.model_type,
            "trust_remote_code": self.model.needs_code,
            "adapter": self.model.is_adapter,
            "base_model": self.model.base_model,
        }


def export(
    directory: Path,
    to: Path,
    *,
    trial: str = BEST,
    merge: bool | None = None,
    retrain: bool = False,
    overwrite: bool = False,
    console: Console,
) -> Exported:
    """Export the model of a trial to the folder `to`, all or nothing.

    Raises:
        SpecError: there is no such trial, it has no checkpoint, or the folder exists.
    """
    files = SearchFiles(directory.expanduser().resolve())
    record = read_records(files.path)
    plan, _ = recorded_plan(files)
    chosen = chosen_trial(record, trial)
    config = exportable(plan, files, chosen)
    to = to.expanduser().resolve()
    if to.exists() and not (overwrite and is_export(to)):
        raise SpecError(_why_not_over(to, overwrite=overwrite))
    to.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint_of(chosen, record, config, files, retrain=retrain, console=console) as checkpoint:
        unfinished = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
        try:
            model = export_model(checkpoint, unfinished, config, merge=merge)
            facts = _facts(record, plan, chosen, config, model, files)
            (unfinished / "README.md").write_text(model_card(facts), "utf-8")
            unfinished.chmod(0o755)
            _put_in_place(unfinished, to)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Exported(folder=to, trial=chosen, task=config.task, model=model)


def chosen_trial(record: SearchRecord, trial: str) -> TrialRecord:
    """`best`, or a number."""
    if trial == BEST:
        if record.best is None:
            raise SpecError(f"no trial of `{record.name}` came to its end: there is no best one.")
        return record.best
    if not trial.isdecimal() or int(trial) >= len(record.trials):
        raise SpecError(f"a trial is `best` or a number from 0 to {len(record.trials) - 1}, but got `{trial}`.")
    return record.trials[int(trial)]


def exportable(plan: Plan, files: SearchFiles, trial: TrialRecord) -> TrialConfig:
    """The configuration of a trial that has one model of its own. Raises SpecError for others."""
    if plan.spec.trainable is not None:
        place = f" Its checkpoint: {trial.checkpoint}" if trial.checkpoint else ""
        raise SpecError(f"the checkpoints of a `trainable` are what its function has written, and loads again.{place}")
    if plan.spec.task == "few_shot":
        raise SpecError("`few_shot` trains nothing: the model is the pretrained one, and the prompt is in trial.yaml.")
    if not files.trial(trial.number).document.is_file():
        raise SpecError(f"trial {trial.number} was run by another search: export it from there.")
    return TrialConfig.model_validate(recorded_document(files, trial.number))


def is_export(folder: Path) -> bool:
    """Whether a folder may be replaced: it holds an export, or nothing."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    return not names or {"README.md", "tokenizer_config.json"} <= names


@contextmanager
def checkpoint_of(
    trial: TrialRecord,
    record: SearchRecord,
    config: TrialConfig,
    files: SearchFiles,
    *,
    retrain: bool,
    console: Console,
) -> Iterator[Path]:
    """The trial's last checkpoint; with `retrain` of a training here and now, which gives the same weights."""
    if retrain:
        with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
            yield _trained(trial, config, Path(folder), files, console=console)
        return
    if config.folds is not None:
        kind = config.folds.kind
        raise SpecError(
            f"trial {trial.number} is {len(config.folds.runs)} models, one a {kind}, and none of them is its result. "
            "With `--retrain` its configuration is trained once, on the division of `data.splits`."
        )
    if trial.checkpoint is None:
        kept = [str(each.number) for each in record.trials if each.checkpoint is not None]
        others = f"Trials with one: {', '.join(kept)}." if kept else "No trial has one."
        raise SpecError(
            f"trial {trial.number} has no checkpoint any more. {others} `--retrain` trains it once more and gives the "
            "same weights; `checkpoints.keep: N` keeps those of the N best trials of a search."
        )
    yield local_checkpoint(trial.checkpoint)


def _trained(trial: TrialRecord, config: TrialConfig, folder: Path, files: SearchFiles, *, console: Console) -> Path:
    console.print(f"training trial {trial.number} once more", highlight=False)
    last: list[TrialReport] = []

    def note(report: TrialReport) -> None:
        last[:] = [report]
        shown = "  ".join(f"{name} {show_metric(value)}" for name, value in report.metrics.items())
        console.print(f"epoch {report.progress.epoch:g}  {shown}", highlight=False, soft_wrap=True)

    directory = TrialDirectory(folder)
    directory.begin_attempt()
    content = parse_yaml(files.trial(trial.number).document.read_text("utf-8"))[0]
    outcome = run_trial(
        config.model_copy(update={"folds": None, "measure_test": False}),
        note,
        directory=directory,
        num_threads=min(int(content.get("cpus", 1)), local_cpus()),
    )
    if outcome.failure is not None:
        raise SpecError(f"trial {trial.number} failed when it was trained once more: {outcome.failure.message}")
    assert last, "a trial that ends has reported"
    assert last[0].checkpoint is not None, "checkpoints are saved"
    return Path(last[0].checkpoint)


def _why_not_over(to: Path, *, overwrite: bool) -> str:
    if overwrite:
        return f"`{to}` is no export of a model: it is not overwritten."
    return f"`{to}` exists already: name another folder, or give `--overwrite`."


def _put_in_place(unfinished: Path, to: Path) -> None:
    """Rename; an older export is moved aside first, so that a kill leaves one of the two."""
    aside = to.with_name(f".{to.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    if to.exists():
        to.rename(aside)
    unfinished.rename(to)
    shutil.rmtree(aside, ignore_errors=True)


def _facts(
    record: SearchRecord,
    plan: Plan,
    trial: TrialRecord,
    config: TrialConfig,
    model: ExportedModel,
    files: SearchFiles,
) -> CardFacts:
    card = cached_card(config.task, config.model, config.data)
    recorded = parse_yaml(files.spec.read_text("utf-8"))[0].get(RECORDED, {})
    return CardFacts(
        record=record,
        trial=trial,
        task=config.task,
        pipeline=model.pipeline,
        auto_class=model.auto_class,
        model_type=model.model_type,
        needs_code=model.needs_code,
        is_adapter=model.is_adapter,
        base_model=model.base_model,
        is_chat=config.task in ("instruction_tuning", "preference"),
        space={str(path): json.dumps(entry, default=str) for path, entry in plan.spec.space.items()},
        training=config.training,
        max_length=config.data.max_length,
        data={} if card is None else {"source": card.source, "documents": dict(card.documents),
                                      "tokens": dict(card.tokens), "labels": list(card.labels)},
        versions={**recorded.get("versions", {}), "python": recorded.get("python", "")},
        confirmations=read_confirmations(files.path),
        preset=recorded.get("preset"),
    )  # fmt: skip
