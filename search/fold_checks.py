"""What does not go together with several trainings a trial. Knows no space."""

from search.spec import SearchSpec
from spaces.errors import SpecError
from trainables.config import DataConfig, FilesSource, SplitFiles


def check_folds(spec: SearchSpec) -> None:
    """Raises SpecError, with its path, for folds or seeds that cannot work as the rest of the spec is."""
    folds = spec.search.folds
    if folds is None:
        return
    trainings = f"{len(folds.runs)} {folds.kind}s"
    if spec.search.scheduler.has_rungs and spec.stopping.patience is not None:
        raise SpecError(
            f"`patience` ends each of the {trainings} at a length of its own, and rungs would compare trials in "
            "different ones: use a scheduler without rungs, or no patience.",
            path="stopping.patience",
        )
    if spec.search.scheduler.lets_trials_wait:
        raise SpecError(
            f"`{spec.search.scheduler.name}` lets trials go on from a checkpoint, but each of the {trainings} has its "
            "own: use `asha`, or no folds.",
            path="search.scheduler.name",
        )
    racing = spec.search.racing
    if racing is not None and racing.min_folds >= len(folds.runs):
        raise SpecError(
            f"`min_folds < {len(folds.runs)}` must hold for {trainings}, but got {racing.min_folds}: no trial would "
            "ever be stopped.",
            path="search.racing.min_folds",
        )
    if spec.search.cross_validation is not None and spec.search.cross_validation.outer_folds is not None:
        _check_nested(spec)
    if spec.search.cross_validation is not None and spec.data is not None:
        _check_division(spec.data, repeats=spec.search.cross_validation.repeats)


def _check_nested(spec: SearchSpec) -> None:
    """The outer folds must be ours to make, and the last training must not look at what measures it."""
    path = "search.cross_validation.outer_folds"
    if spec.data is None:
        raise SpecError(
            "searches are nested for a `task` only: the data of a function is not ours to divide.", path=path
        )
    if spec.data.splits.test_fold is not None:
        raise SpecError("each search sets its own: leave it out.", path="data.splits.test_fold")
    if spec.stopping.patience is not None:
        raise SpecError(
            "the winner of each search is trained to its planned end: when to stop would be chosen by the very "
            "documents that measure it. Leave `patience` out.",
            path="stopping.patience",
        )
    for source in spec.data.sources:
        if isinstance(source, FilesSource) and isinstance(source.files, SplitFiles) and source.files.test is not None:
            raise SpecError("each outer fold is a test split, but the source brings its own test part.", path=path)


def _check_division(data: DataConfig, *, repeats: int) -> None:
    if data.splits.fold is not None:
        raise SpecError("the search sets this for each training: leave it out.", path="data.splits.fold")
    if repeats > 1 and data.splits.by == "time":
        raise SpecError(
            f"time has one order: {repeats} repeats would be equal. Repeat trainings by `search.seeds`.",
            path="search.cross_validation.repeats",
        )
    for index, source in enumerate(data.sources):
        files = source.files if isinstance(source, FilesSource) else None
        if isinstance(files, SplitFiles) and files.validation is not None:
            place = f"data.source.{index}" if isinstance(data.source, tuple) else "data.source"
            raise SpecError(
                "folds are made of train, but the source brings its own validation part: give its files to train, or "
                "leave the cross-validation out.",
                path=f"{place}.files",
            )
