"""The story of a confirmation: choose the best, train them again with fresh seeds, look at the test split once.

A search chooses, and what was chosen looks better than it is. Here nothing is chosen any more: it is the one place that
measures the test split. A confirmation is a search of its own in `confirmation-N/` of the search's folder, so that it
can be killed and gone on with, and runs nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pydantic import ValidationError
from rich.console import Console

from analysis.confirmation import Confirmation, read_confirmations, write_confirmation
from analysis.kept import place_of, store_late
from analysis.records import SearchFiles
from analysis.sources import read_records
from search.choosing import chosen_configurations
from search.confirmation_results import confirmation_of
from search.confirmation_sections import ConfirmationConfig, ConfirmedConfiguration
from search.confirmation_spec import confirmation_spec, on_all_but_test
from search.load import RECORDED
from search.plan import Plan
from search.published import make_baseline
from search.recorded_spec import recorded_plan
from search.stages import run_stage
from search.unseen import check_test_split
from search.yaml_text import parse_yaml
from spaces.errors import SpecError

_FOLDER = "confirmation-"
_SMALLEST_SEED, _LARGEST_SEED = 1_000, 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a person asks for."""

    top: int = 3
    """So many of the best trials."""
    trials: Sequence[int] = ()
    """These trials instead."""
    num_seeds: int = 5
    """Trainings of each configuration."""
    with_baseline: bool = True
    """Whether a baseline is trained beside them."""
    again: bool = False
    """A new confirmation, also where the same was done before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmationOutcome:
    """What is left when a confirmation has ended, or was interrupted."""

    confirmation: Confirmation | None
    """What was measured; None when the user stopped it before its first training."""
    earlier: list[Confirmation]
    """All confirmations of the search before it."""
    was_interrupted: bool
    """Whether the user stopped it before its end."""
    sync_command: str | None = None
    """How to bring its W&B runs to W&B."""


def confirm(directory: Path, request: Request, *, address: str | None = None, console: Console) -> ConfirmationOutcome:
    """Confirm the best of a search, or go on with it, or find it done.

    Raises:
        SpecError: there is no search, nothing to confirm, or no test split.
        ClusterError: Ray cannot be reached.
    """
    files = SearchFiles(directory.expanduser().resolve())
    if not files.spec.is_file():
        raise SpecError(f"`{directory}` is no search: it has no {files.spec.name}.")
    plan, identity = recorded_plan(files)
    if plan.spec.confirmation is not None:
        raise SpecError(f"`{directory}` is a confirmation: name the folder of the search that it confirms.")
    check_test_split(plan)
    record = read_records(files.path)
    chosen = chosen_configurations(record, plan, top=request.top, numbers=request.trials)
    config = None if request.again else _known(files, chosen.configurations, request)
    if config is None:
        notes = list(chosen.notes)
        configurations = list(chosen.configurations)
        if request.with_baseline:
            baseline = make_baseline(plan, address=address, console=console)
            if baseline.was_interrupted:
                return ConfirmationOutcome(
                    confirmation=None, earlier=read_confirmations(files.path), was_interrupted=True
                )
            notes += baseline.notes
            notes += _add(baseline.configuration, configurations)
        number = _next_number(files)
        config = ConfirmationConfig(
            search=plan.spec.name,
            fingerprint=identity.fingerprint,
            number=number,
            seeds=fresh_seeds(identity.fingerprint, number, count=request.num_seeds, taken=_taken_seeds(files, plan)),
            configurations=tuple(on_all_but_test(each, plan.spec) for each in configurations),
            with_baseline=request.with_baseline,
            notes=tuple(notes),
        )
    return _run(plan, config, address=address, console=console)


def _run(plan: Plan, config: ConfirmationConfig, *, address: str | None, console: Console) -> ConfirmationOutcome:
    spec = confirmation_spec(plan.spec, config, name=f"{_FOLDER}{config.number}", storage=place_of(plan.files))
    names = ", ".join(each.name for each in config.configurations)
    console.print(
        f"confirmation {config.number} of {config.search}: {names}, each with {len(config.seeds)} fresh "
        f"seed{'s' if len(config.seeds) > 1 else ''}: {config.num_trainings} trainings",
        style="bold", highlight=False, soft_wrap=True,
    )  # fmt: skip
    outcome = run_stage(spec, address=address, console=console)
    confirmation = confirmation_of(config, spec, outcome.record, created=_created(outcome.files))
    store_late(write_confirmation(confirmation, outcome.files.path))
    return ConfirmationOutcome(
        confirmation=confirmation,
        earlier=[each for each in read_confirmations(plan.files.path) if each.number < config.number],
        was_interrupted=outcome.was_interrupted,
        sync_command=outcome.sync_command,
    )


def fresh_seeds(fingerprint: str, number: int, *, count: int, taken: set[int]) -> tuple[int, ...]:
    """Seeds that nothing in the search has used, the same whenever the same confirmation is asked for."""
    generator = Random(f"{fingerprint}/{number}")
    seeds: list[int] = []
    while len(seeds) < count:
        seed = generator.randrange(_SMALLEST_SEED, _LARGEST_SEED)
        if seed not in taken and seed not in seeds:
            seeds.append(seed)
    return tuple(seeds)


def _taken_seeds(files: SearchFiles, plan: Plan) -> set[int]:
    """Those of all trials, also where a trial has several, and of earlier confirmations."""
    taken = {seed for each in _configs(files) for seed in each.seeds}
    for file in files.path.glob("trials/*/trial.yaml"):
        document = parse_yaml(file.read_text("utf-8"))[0]["document"]
        first = document.get("training", document.get("config", {})).get("seed", 42)
        if isinstance(first, int):
            taken |= set(range(first, first + plan.spec.search.trainings))
    return taken


def _known(files: SearchFiles, chosen: Sequence[ConfirmedConfiguration], request: Request) -> ConfirmationConfig | None:
    """The latest confirmation that was asked for in the same way, done or not."""
    wanted = [each.trial for each in chosen]
    for config in reversed(_configs(files)):
        trials = [each.trial for each in config.configurations if each.kind == "trial"]
        same = trials == wanted and len(config.seeds) == request.num_seeds
        if same and config.with_baseline == request.with_baseline:
            return config
    return None


def _configs(files: SearchFiles) -> list[ConfirmationConfig]:
    """What each confirmation of the search was to be, the first one first."""
    found = []
    for file in files.path.glob(f"{_FOLDER}*/spec.yaml"):
        try:
            found.append(ConfirmationConfig.model_validate(parse_yaml(file.read_text("utf-8"))[0]["confirmation"]))
        except (ValidationError, KeyError) as error:
            raise SpecError(f"`{file}` is not what `tunesmith confirm` has written there: {error}.") from None
    return sorted(found, key=lambda each: each.number)


def _next_number(files: SearchFiles) -> int:
    return max((each.number for each in _configs(files)), default=0) + 1


def _add(baseline: ConfirmedConfiguration | None, configurations: list[ConfirmedConfiguration]) -> list[str]:
    """Put the baseline behind the others. Gives what to say when it is one of them already."""
    if baseline is None:
        return []
    same = next((each for each in configurations if each.document == baseline.document), None)
    if same is not None:
        return [f"the baseline ({baseline.name}) is the very configuration of {same.name}: it is not trained twice"]
    configurations.append(baseline)
    return []


def _created(files: SearchFiles) -> str:
    return str(parse_yaml(files.spec.read_text("utf-8"))[0][RECORDED]["created"])
