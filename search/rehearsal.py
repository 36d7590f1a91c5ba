"""The story of `rehearse`: load the spec, read the table, play the search several times, say what came out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import optuna
from rich.console import Group, RenderableType
from rich.text import Text

from analysis.kept import place_of
from analysis.records import SearchFiles
from analysis.sources import read_records
from search.algorithms import AlgorithmConfig, AlgorithmName
from search.load import LoadedSpec, load_spec
from search.own_tables import table_of_search
from search.plan import Plan, make_plan
from search.priors import check_priors
from search.regret import regret_text
from search.rehearse import Rehearsal, Script
from search.repeats import Repeats, play_all
from search.spec import SearchSpec
from search.tables import Lookup, Table, read_table
from spaces.errors import SpecError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user wants rehearsed."""

    spec: Path | None
    """The spec; None means that of `directory`."""
    table: Path | None
    """File of recorded results."""
    directory: Path | None
    """Instead of a file: the folder of a search."""
    overrides: tuple[str, ...] = ()
    """`PATH=VALUE` for the spec."""
    algorithms: tuple[str, ...] = ()
    """Names to compare, instead of the spec's algorithm."""
    lookup: Lookup = "auto"
    """How a configuration finds its result."""
    num_repeats: int = 10
    """Searches with different seeds."""
    num_parallel: int = 1
    """Trials at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Performance:
    """What came out."""

    rehearsals: Mapping[str, list[Rehearsal]]
    """Name of the algorithm -> its repeats."""
    optimum: float
    """The best objective in the table."""
    metric: str
    """The objective."""
    note: str
    """What a reader must know of the table."""

    def to_json(self) -> list[dict[str, Any]]:
        """The repeats; those of several algorithms carry its name."""
        named = len(self.rehearsals) > 1
        return [
            ({"algorithm": name} if named else {}) | rehearsal.to_json()
            for name, repeats in self.rehearsals.items()
            for rehearsal in repeats
        ]

    def text(self) -> RenderableType:
        """For a person."""
        return Group(Text(self.note), regret_text(self.rehearsals, optimum=self.optimum, metric=self.metric))


def perform(request: Request) -> Performance:
    """Rehearse.

    Raises:
        SpecError: the spec, the table or the request is wrong.
    """
    if (request.table is None) == (request.directory is None):
        raise SpecError(
            "give either `--table FILE` or `--from DIR`, " + ("not both." if request.table else "one of them.")
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = make_plan(_loaded(request))
    table, note = _table(request, plan)
    names = request.algorithms or (plan.spec.search.algorithm.name,)
    rehearsals = {
        name: play_all(
            Repeats(
                script=script,
                table=table,
                first_seed=plan.spec.search.seed,
                num_repeats=request.num_repeats,
                num_parallel=request.num_parallel,
            )
        )
        for name, script in ((name, _script(plan, name, request)) for name in names)
    }
    return Performance(rehearsals=rehearsals, optimum=table.best(plan.spec.mode), metric=plan.spec.metric, note=note)


def _loaded(request: Request) -> LoadedSpec:
    if request.spec is not None:
        return load_spec(request.spec, overrides=request.overrides)
    if request.directory is None:
        raise SpecError("name the spec: `tunesmith rehearse SPEC --table FILE`.")
    recorded = SearchFiles(request.directory).spec
    if not recorded.is_file():
        raise SpecError(f"`{request.directory}` is no search: it has no {recorded.name}.")
    return load_spec(recorded, overrides=request.overrides)


def _table(request: Request, plan: Plan) -> tuple[Table, str]:
    if request.table is not None:
        table = read_table(
            request.table, plan.space, metric=plan.spec.metric, document=plan.document, lookup=request.lookup
        )
        how = "exact look-up" if table.is_exact else "the nearest configuration answers"
        return table, f"{request.table}: {len(table.points)} configurations, {how}"
    assert request.directory is not None
    own = table_of_search(read_records(request.directory), plan, plan.space)
    note = f"{place_of(SearchFiles(request.directory))}: {len(own.table.points)} trials, the nearest one answers"
    if own.num_extended:
        note += f"; {own.num_extended} of them were stopped early and are taken to stay as they were"
    return own.table, note


def _check_one_metric(spec: SearchSpec) -> None:
    """What a table of one value for each configuration cannot answer is refused, not passed over."""
    if len(spec.objectives) > 1:
        raise SpecError(
            f"a table answers for one metric, but there are {len(spec.objectives)}: rehearse with one of them "
            f"(`--set search.metric={spec.metric}`).",
            path="search.metric",
        )
    if spec.search.racing is not None:
        raise SpecError(
            "a table has no values of single folds, between which a race is run (`--set search.racing=false`).",
            path="search.racing",
        )
    if spec.search.stop_trial_when:
        raise SpecError(
            "a table has no other metrics and rows, by which trials are stopped (`--set search.stop_trial_when=[]`).",
            path="search.stop_trial_when",
        )


def _script(plan: Plan, name: str, request: Request) -> Script:
    spec = plan.spec
    known = get_args(AlgorithmName)
    if name not in known:
        raise SpecError(
            f"there is no algorithm `{name}`.{did_you_mean(name, known)} Known: {', '.join(known)}.", path="--algorithm"
        )
    if spec.search.scheduler.is_population:
        raise SpecError(
            f"`{spec.search.scheduler.name}` hands weights over from trial to trial, and no table has recorded what "
            "becomes of them: rehearse with another scheduler (`--set search.scheduler=pasha`).",
            path="search.scheduler.name",
        )
    _check_one_metric(spec)
    own = spec.search.algorithm
    wanted = own if own.name == name else AlgorithmConfig(name=name)
    check_priors(wanted, plan.space)
    algorithm = plan.resolved_algorithm(wanted, num_parallel=request.num_parallel)
    return Script(
        space=plan.space,
        algorithm=algorithm,
        scheduler=spec.search.scheduler.settled(num_trials=plan.num_trials),
        metric=spec.metric,
        mode=spec.mode,
        num_trials=plan.num_trials,
        max_resource=plan.max_resource,
        start_from=plan.start_points(),
        budget=spec.search.budget,
    )
