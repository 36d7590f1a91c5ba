"""How often two truly equal configurations are called a tie, and how often a truly better one is found.

Each simulated search draws its documents anew, from a distribution that is known: labels follow from two groups of
features that say equally much. Configuration A sees one group, B the other, so that their true accuracies are equal by
symmetry, though their values never are; C sees both and is truly better. Each is a logistic regression, trained and
measured on the same five folds, and the leaderboard of the three is what a user reads. Beside it: what a plain paired
t-test would have said, which takes folds for independent experiments.

    python benchmarks/planted_ties.py [--searches 200]
"""

import argparse
import random
from statistics import fmean

from rich.console import Console
from rich.table import Table

from analysis.leaderboard import leaderboard
from analysis.records import SearchRecord, TrialRecord
from analysis.statistics import LEVEL, paired

FOLDS = 5
DOCUMENTS = 600
FEATURES = 10
GROUPS = {"A": slice(0, FEATURES), "B": slice(FEATURES, 2 * FEATURES), "C": slice(0, 2 * FEATURES)}


def simulated_search(seed: int) -> SearchRecord:
    """Three configurations on one drawn data set, as the search would have recorded them."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    generator = np.random.default_rng(seed)
    features = generator.normal(size=(DOCUMENTS, 2 * FEATURES))
    labels = (features.sum(axis=1) / FEATURES**0.5 + generator.normal(size=DOCUMENTS) > 0).astype(int)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(features, labels))
    trials = []
    for number, columns in enumerate(GROUPS.values()):
        seen = features[:, columns]
        values = tuple(
            float(LogisticRegression().fit(seen[train], labels[train]).score(seen[held_out], labels[held_out]))
            for train, held_out in folds
        )
        trials.append(
            TrialRecord(
                number=number, state="COMPLETE", value=fmean(values), params={}, intermediate={}, fold_values=values
            )
        )
    return SearchRecord(
        name="planted", directory=None, metric="eval/accuracy", mode="max", trials=trials, num_planned=len(trials),
        trainings=FOLDS, divisions=FOLDS, test_share=1 / (FOLDS - 1),
    )  # fmt: skip


def simulated_seeds(generator: random.Random, means: list[float], *, seeds: int = 5) -> SearchRecord:
    """Configurations whose values with each seed are drawn around a true mean."""
    trials = []
    for number, mean in enumerate(means):
        values = tuple(generator.gauss(mean, 0.01) for _ in range(seeds))
        trials.append(
            TrialRecord(
                number=number, state="COMPLETE", value=fmean(values), params={}, intermediate={}, fold_values=values
            )
        )
    return SearchRecord(
        name="planted", directory=None, metric="eval/accuracy", mode="max", trials=trials, num_planned=len(trials),
        trainings=seeds, fold_kind="seed", divisions=seeds,
    )  # fmt: skip


def of_two(record: SearchRecord, *numbers: int) -> SearchRecord:
    """The search with these trials only."""
    from dataclasses import replace

    return replace(record, trials=[record.trials[number] for number in numbers])


def is_tie(record: SearchRecord) -> bool:
    """Whether the second of two trials is called a tie."""
    return leaderboard(record)[1].is_tied


def plain_says_tie(record: SearchRecord) -> bool:
    """What the paired t-test without a correction says of two trials."""
    one, other = (trial.fold_values for trial in record.trials)
    found = paired(one, other, test_share=0.0)
    return found is None or found.p_value > LEVEL


def main() -> None:
    """Run, print the shares."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--searches", type=int, default=200)
    count = arguments.parse_args().searches
    folds = [simulated_search(seed) for seed in range(count)]
    generator = random.Random(0)
    seeds = [simulated_seeds(generator, [0.8, 0.8, 0.83]) for _ in range(count)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "tunesmith", "plain paired t-test"):
        table.add_column(name, justify="left" if not name else "right")

    def share(found: list[bool]) -> str:
        return f"{sum(found) / len(found):.1%}"

    for kind, records in (("folds", folds), ("seeds", seeds)):
        equal = [of_two(record, 0, 1) for record in records]
        better = [of_two(record, 0, 2) for record in records]
        table.add_row(
            f"{FOLDS} {kind}: equal ones called a tie (level {1 - LEVEL:.0%})",
            share([is_tie(record) for record in equal]),
            share([plain_says_tie(record) for record in equal]),
        )
        table.add_row(
            f"{FOLDS} {kind}: the better one found",
            share([leaderboard(each)[0].trial.number == 2 and not is_tie(each) for each in better]),
            share([leaderboard(each)[0].trial.number == 2 and not plain_says_tie(each) for each in better]),
        )
    many = [leaderboard(simulated_seeds(generator, [0.8] * 8)) for _ in range(count)]
    cast_out = [not entry.is_tied for ranking in many for entry in ranking[1:]]
    table.add_row("8 equal ones, 5 seeds: ties among those below the first", share([not each for each in cast_out]), "")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
