"""The story of a search: create or reopen its folder, prepare the data, connect, tune, summarise."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import optuna
from rich.console import Console

from analysis.kept import brought_here
from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import to_csv
from analysis.own_runs import search_summary
from analysis.records import SearchFiles, SearchRecord, replace_text
from analysis.sources import read_records
from analysis.study_place import study_place, write_place
from analysis.study_source import no_search, stored_study
from cluster.avoidance import Avoidance
from cluster.capacity import Capacity
from cluster.connect import ClusterError, connected, set_environment
from cluster.joining import check_address, hosts_of
from cluster.ray_version import check_installed_ray
from cluster.resources import concurrent_trials, waits_for
from search.algorithms import AlgorithmConfig
from search.best_model import best_model
from search.continuations import carry_out
from search.control import ControlDesk
from search.data_cards import data_card_of
from search.databases import reach
from search.ended import forget_end, has_ended, note_end
from search.inheritance import find_inheritance, is_whole, write_inheritance
from search.lease import Lease
from search.ledger import Proposal, create_study, open_ledger, open_study
from search.lost_runs import write_lost_runs
from search.mirror import Mirror
from search.mirroring import begin_store, mirrored
from search.pins import pin_checkpoints
from search.plan import Plan
from search.progress import SearchProgress, shown
from search.provenance import provenance
from search.recorded_spec import recorded_plan, resolved_spec, study_attributes, write_spec
from search.recorder import Recorder
from search.reporting import report_at_end
from search.revisions import read_revisions
from search.spec import SearchSpec
from search.spending import SECONDS, make_spending
from search.study_storage import Patience, leased
from search.tracker import RunFacts, SearchIdentity, Tracker
from search.tracking import check_credentials, make_tracker
from search.wandb_folders import sync_command, unsent
from spaces.errors import SpecError
from spaces.shelf import note_shelf
from spaces.store import Store, is_store, store_of
from trainables.data.card import DataCard
from trainables.metrics import MODES

if TYPE_CHECKING:
    from search.numbered_scheduler import NumberedScheduler
    from search.searcher import AskTellSearcher

_ALGORITHM = "sampler"
"""Attribute of the study: the algorithm and its arguments."""
ENDED_BY = "ended_by"
"""Attribute of the study: which budget ended the search before all its trials were run."""
_START_POINTS = "start_from"
"""Attribute of the study: the points that scaling laws gave."""
_LOCK_SECONDS = 0.5
"""Who asks whether the search is conducted holds its lock for an instant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOutcome:
    """What is left when a search has ended."""

    record: SearchRecord
    """All trials."""
    files: SearchFiles
    """Where they lie."""
    was_interrupted: bool
    """Whether the user stopped it before its end."""
    unsynced_runs: list[str]
    """Offline W&B runs on disk."""
    sync_command: str | None
    """How to bring them to W&B."""


def start_search(plan: Plan, *, address: str | None = None, console: Console) -> SearchOutcome:
    """Run a new search.

    Raises:
        SpecError: its folder exists already, or its data cannot be read.
        ClusterError: Ray cannot be reached.
    """
    check_installed_ray()
    if address is not None:
        check_address(address)
    check_credentials(plan.spec.tracking.wandb)
    files = plan.files
    url = f"{plan.spec.storage.path}/{plan.spec.name}"
    if is_store(url):
        begin_store(files, url)
        note_shelf(files.path, Store.at(url))
    elif files.path.exists() and any(files.path.iterdir()):
        raise SpecError(
            f"`{files.path}` exists already. Go on with it by `tunesmith resume {shortest(files.path)}`, or give the "
            "search another name (`--set name=...`).",
            path="name",
        )
    inheritance = find_inheritance(plan)
    for words in inheritance.words:
        console.print(f"learning from {words}", highlight=False, soft_wrap=True)
    database = plan.spec.storage.database
    if database is not None:
        reach(database).dispose()
    files.path.mkdir(parents=True, exist_ok=True)
    with conducting(files), _removed_when_refused(files, keep=is_store(url) or database is not None):
        identity = write_spec(plan)
        pin_checkpoints(resolved_spec(plan.spec), files)
        if database is not None:
            write_place(files, database=database, search=plan.spec.name, fingerprint=identity.fingerprint)
        with leased(files, say=console.print) as lease, mirrored(files, say=console.print) as mirror:
            study = create_study(files.path, plan.spec, attributes=study_attributes(plan), lease=lease)
            write_inheritance(inheritance, study, plan.space, files)
            return _conduct(plan, identity, address=address, console=console, lease=lease, mirror=mirror)


@contextlib.contextmanager
def _removed_when_refused(files: SearchFiles, *, keep: bool) -> Iterator[None]:
    """A new search that is refused before its first trial leaves no folder: with the reason gone, the same command is
    to work. One with a part elsewhere is kept: `resume` finds it."""
    try:
        yield
    except (SpecError, ClusterError):
        if not keep and not any((files.path / "trials").glob("*")):
            shutil.rmtree(files.path, ignore_errors=True)
        raise


def resume_search(
    directory: Path,
    *,
    address: str | None = None,
    console: Console,
    revise: Callable[[SearchFiles], None] | None = None,
) -> SearchOutcome:
    """Go on with an interrupted search: finished trials stay, running ones go on from their last checkpoint. `revise`
    may change first what the search is to do (see `revisions.py`); while it does, nobody else conducts the search.

    Raises:
        SpecError: `directory` is no search, or another process conducts it.
        ClusterError: Ray cannot be reached.
    """
    if address is not None:
        check_address(address)
    files = SearchFiles(brought_here(directory).expanduser().resolve())
    if not files.spec.is_file():
        raise no_search(directory, lacks=files.spec.name)
    say = console.print
    with conducting(files), leased(files, say=say) as lease, mirrored(files, say=say) as mirror:
        if study_place(files) is None:
            raise SpecError(f"`{directory}` was interrupted before it began: remove it and run it anew.")
        if revise is not None:
            revise(files)
        # What is kept in a store may have lost W&B runs with its machine: they are written anew below.
        if mirror is None and has_ended(open_study(files.path), files):
            return _found_ended(files, console)
        check_installed_ray()
        plan, identity = recorded_plan(files)
        if plan.spec.search.warm_start and not is_whole(open_study(files.path)):
            raise SpecError(
                f"`{directory}` was interrupted before it had taken over what other searches know: remove it and run "
                "it anew."
            )
        return _conduct(plan, identity, address=address, console=console, lease=lease, mirror=mirror)


def _found_ended(files: SearchFiles, console: Console) -> SearchOutcome:
    """What is left of a search with nothing to do any more."""
    record = read_records(files.path)
    more = f"more trials: `tunesmith extend {shortest(files.path)} --trials N`"
    console.print(f"{record.name} has ended, nothing is left to do; {more}", highlight=False, soft_wrap=True)
    pending = unsent(files.path / "wandb")
    return SearchOutcome(
        record=record,
        files=files,
        was_interrupted=False,
        unsynced_runs=[str(run.directory) for run in pending],
        sync_command=sync_command(files.path) if pending else None,
    )


def _conduct(
    plan: Plan,
    identity: SearchIdentity,
    *,
    address: str | None,
    console: Console,
    lease: Lease | None,
    mirror: Mirror | None,
) -> SearchOutcome:
    # ray is imported from here on only: what can fail without it has failed before
    set_environment()
    from search.conducting import scheduler_of
    from search.tuner import tune_trials

    spec, files = plan.spec, plan.files
    patience = Patience(spec.storage.max_outage)
    study = open_study(files.path, patience=patience, lease=lease)
    study.set_user_attr("num_trials", plan.num_trials)
    study.set_user_attr(ENDED_BY, None)
    forget_end(study)
    carry_out(read_revisions(files), study, files, step_of=plan.step_of)
    desk = ControlDesk(files)
    before = read_records(files.path)
    progress = _progress(plan, before, console)
    patience.say = progress.say
    if mirror is not None:
        mirror.say = progress.say
    tracker = make_tracker(spec.tracking.wandb, identity, _run_facts(spec))
    if address is not None:  # which takes some seconds
        where = "of this machine" if address == "auto" else f"at {address}"
        console.print(f"joining the Ray cluster {where}", highlight=False, soft_wrap=True)
    try:
        with shown(progress), _data_in_background(plan, progress.say) as prepared, connected(address) as capacity:
            num_concurrent = concurrent_trials(spec.resources, capacity)
            _look_at_cluster(plan, capacity, address, progress)
            if (card := prepared.result()) is not None:
                replace_text(files.data_card, card.to_json())
            study.set_user_attr("baseline", card.baseline if card else {})
            study.set_user_attr("baseline_name", card.baseline_name if card else "")
            tracker.start_search(json.loads(spec.model_dump_json()), summary=_recorded_study(study, spec))
            if mirror is not None and spec.tracking.wandb.mode == "offline":
                write_lost_runs(tracker, before, study, files, identity)
            algorithm = _settled_algorithm(plan, study, num_concurrent)
            recorder = _recorder(plan, study, algorithm, tracker, progress, before, mirror)
            scheduler = scheduler_of(plan, before, study, recorder, progress)
            searcher = _searcher(plan, recorder, scheduler, num_concurrent, desk)
            progress.say("starting the first trials")
            is_done = tune_trials(searcher, scheduler, resources=spec.resources, may_grow=bool(capacity.may_bring))
            recorder.end_session()
            study.set_user_attr(ENDED_BY, searcher.ended_by)
            progress.say("finishing W&B runs" if spec.tracking.wandb.mode != "disabled" else "")
            record = _summarise(plan, study, tracker, was_interrupted=not is_done)
            if is_done:
                note_end(study, files)
    except Exception as error:
        if patience.broken is not None and error is not patience.broken:
            raise patience.broken from error  # Tune says it in words of its own
        raise
    finally:
        tracker.close(interrupted=True)  # after an error; when all went well it is closed already
    return SearchOutcome(
        record=record,
        files=files,
        was_interrupted=not is_done,
        unsynced_runs=tracker.pending(),
        sync_command=tracker.sync_command,
    )


def _look_at_cluster(plan: Plan, capacity: Capacity, address: str | None, progress: SearchProgress) -> None:
    if address is None:
        return
    from cluster.nodes import check_nodes

    store = store_of(plan.files.path)
    for words in check_nodes(plan.files.path if store is None else store.url).differences:
        progress.note(words)
    if (waiting := waits_for(plan.spec.resources, capacity)) is not None:
        progress.say(waiting)


def _searcher(
    plan: Plan, recorder: Recorder, scheduler: "NumberedScheduler", num_concurrent: int, desk: ControlDesk
) -> "AskTellSearcher":
    from search.searcher import AskTellSearcher
    from trainables.notice import draining_nodes
    from trainables.trainable import TrialOrder

    resources = plan.spec.resources

    def make_order(number: int, document: dict[str, Any]) -> TrialOrder:
        return TrialOrder(
            number=number,
            document=document,
            directory=_place_of(plan.files, number),
            num_threads=resources.cpus_per_worker,
            save_checkpoints=plan.spec.checkpoints.save,
            metric=plan.spec.metric,
            num_workers=resources.workers,
            gpus_per_worker=resources.gpus_per_worker,
            collective_timeout_seconds=resources.collective_timeout_seconds,
            gpu_share=min(plan.spec.resources.gpus_per_worker or 1.0, 1.0),
        )

    return AskTellSearcher(
        recorder,
        scheduler,
        num_trials=plan.num_trials,
        make_order=make_order,
        num_concurrent=num_concurrent,
        desk=desk,
        max_restarts=resources.max_restarts,
        avoidance=Avoidance(
            hosts=lambda: hosts_of(cpus=resources.cpus_per_worker, gpus=resources.gpus_per_worker),
            draining=lambda: draining_nodes() or (),
        ),
    )


def _place_of(files: SearchFiles, number: int) -> str:
    """The folder of a trial, as any node finds it."""
    store = store_of(files.path)
    return str(files.trial(number).path) if store is None else f"{store.url}/trials/{number}"


def _settled_algorithm(plan: Plan, study: optuna.Study, num_concurrent: int) -> AlgorithmConfig:
    """The algorithm with all its arguments. What was settled at the first start stays, wherever the search goes on."""
    if (recorded := study.user_attrs.get(_ALGORITHM)) is not None:
        return AlgorithmConfig.model_validate(recorded)
    algorithm = plan.resolved_algorithm(num_parallel=num_concurrent)
    study.set_user_attr(_ALGORITHM, algorithm.model_dump())
    return algorithm


def _settled_points(plan: Plan, study: optuna.Study) -> list[dict[str, Any]]:
    """The points that come first. Guesses from the size of the data are made once, when it is prepared."""
    if not isinstance(plan.spec.search.start_from, str):
        return plan.start_points()
    if (recorded := study.user_attrs.get(_START_POINTS)) is None:
        study.set_user_attr(_START_POINTS, recorded := plan.start_points())
    return list(recorded)


def _recorder(
    plan: Plan,
    study: optuna.Study,
    algorithm: AlgorithmConfig,
    tracker: Tracker,
    progress: SearchProgress,
    before: SearchRecord,
    mirror: Mirror | None,
) -> Recorder:
    spec = plan.spec

    def document_of(proposal: Proposal) -> dict[str, Any]:
        return plan.space.apply(proposal.assignment)

    return Recorder(
        plan.files,
        open_ledger(
            study,
            spec,
            plan.space,
            step_of=plan.step_of,
            algorithm=algorithm,
            start_from=_settled_points(plan, study),
        ),
        tracker,
        progress,
        objectives=spec.objectives,
        keep_checkpoints=spec.checkpoints.keep,
        is_at_end=plan.is_at_end,
        document_of=document_of,
        trial_facts={
            "search": spec.name,
            "metric": spec.metric,
            "mode": spec.mode,
            "cpus": spec.resources.cpus_per_worker,
            "workers": spec.resources.workers,
        },
        record=before,
        price_per_hour=spec.resources.price_per_hour,
        spending=make_spending(
            spec, before, seconds_before=before.seconds, note=lambda seconds: study.set_user_attr(SECONDS, seconds)
        ),
        max_checkpoint_bytes=spec.checkpoints.max_disk,
        values_change=spec.search.scheduler.is_population,
        mirror=mirror,
    )


def _progress(plan: Plan, before: SearchRecord, console: Console) -> SearchProgress:
    progress = SearchProgress(
        metric=plan.spec.metric,
        mode=plan.spec.mode,
        num_trials=plan.num_trials,
        console=console,
        unit=plan.spec.search.scheduler.unit,
    )
    for state in progress.counts:
        progress.counts[state] = before.count(state)  # type: ignore[arg-type]  # its keys are states
    if (best := before.best) is not None and best.value is not None:
        progress.best = (best.value, best.number)
    return progress


@contextlib.contextmanager
def _data_in_background(plan: Plan, say: Callable[[str], None]) -> Iterator["Future[DataCard | None]"]:
    """Prepare the data while Ray starts. Data that varies with the trial is prepared for its base value, too:
    a source that cannot be read must be known before the first trial."""
    spec = plan.spec

    def work() -> DataCard | None:
        if spec.task is None or spec.model is None or spec.data is None:
            return None
        from trainables.folds import data_of_folds
        from trainables.preparation import prepare

        cards = [
            prepare(spec.task, spec.model, data, on_progress=say).card
            for data in data_of_folds(spec.data, spec.search.folds)
        ]
        return cards[0]

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare") as pool:
        yield pool.submit(work)


def _recorded_study(study: optuna.Study, spec: SearchSpec) -> dict[str, str]:
    """What the search's own run says of it, so that the record can be read back from W&B."""
    if spec.tracking.wandb.mode == "disabled":
        return {}  # to read all trials takes long where there are thousands
    return search_summary(stored_study(study, study.get_trials(deepcopy=False)))


def _run_facts(spec: SearchSpec) -> RunFacts:
    """What every W&B run of the search says of itself."""
    return RunFacts(
        provenance={"seed": spec.search.seed, "metric": spec.metric, "mode": spec.mode, **provenance()},
        modes=MODES | {objective.name: objective.mode for objective in spec.objectives},
        card_of=data_card_of,
    )


def _summarise(plan: Plan, study: optuna.Study, tracker: Tracker, *, was_interrupted: bool) -> SearchRecord:
    files = plan.files
    record = read_records(files.path)
    replace_text(files.leaderboard, to_csv(leaderboard(record)))
    # Beside W&B, for whose service one waits anyway.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="report") as pool:
        pool.submit(report_at_end, record, files)
        _end_tracking(record, plan, study, tracker, was_interrupted=was_interrupted)
    return record


def _end_tracking(
    record: SearchRecord, plan: Plan, study: optuna.Study, tracker: Tracker, *, was_interrupted: bool
) -> None:
    best = record.best
    summary: dict[str, Any] = {
        f"trials/{state.lower()}": record.count(state) for state in ("COMPLETE", "PRUNED", "FAIL")
    }
    if best is not None:
        summary |= {"best/number": best.number, f"best/{record.metric}": best.value}
    tracker.end_search(record, summary | _recorded_study(study, plan.spec))
    wants_model = plan.spec.tracking.wandb.log_model == "best" and not was_interrupted
    if wants_model and (model := best_model(record, plan.files, study)) is not None:
        tracker.log_model(model)
    tracker.close(interrupted=was_interrupted)


@contextlib.contextmanager
def conducting(files: SearchFiles) -> Iterator[None]:
    """One process conducts a search. The lock goes with the process, also when it is killed."""
    lock = filelock.FileLock(files.lock)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except filelock.Timeout:
        raise SpecError(f"`{files.path}` is being run by another process at this moment.") from None
    try:
        yield
    finally:
        lock.release()


def shortest(path: Path) -> str:
    """`path` relative to the current folder where that is shorter; the URL where it only stands for one."""
    if (store := store_of(path)) is not None:
        return store.url
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
