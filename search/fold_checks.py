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
    racing = spec.search.racing
    if racing is not None and racing.min_folds >= len(folds.runs):
        raise SpecError(
            f"`min_folds < {len(folds.runs)}` must hold for {trainings}, but got {racing.min_folds}: no trial would "
            "ever be stopped.",
            path="search.racing.min_folds",
        )
    if spec.search.cross_validation is not None and spec.data is not None:
        _check_division(spec.data, repeats=spec.search.cross_validation.repeats)


def _check_division(data: DataConfig, *, repeats: int) -> None:
    for part in ("fold", "test_fold"):
        if getattr(data.splits, part) is not None:
            raise SpecError("the search sets this for each training: leave it out.", path=f"data.splits.{part}")
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
