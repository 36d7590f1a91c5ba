"""Whether W&B can be asked, and what it says of a run. Writes nothing."""

from collections.abc import Sequence

from search.spec import WandbConfig
from search.tracking import has_credentials
from spaces.errors import SpecError

_TIMEOUT_SECONDS = 20


def require_server() -> None:
    """Raise a SpecError unless there is a key, and the server takes it."""
    if not has_credentials():
        raise SpecError("W&B needs an API key, and there is none: run `wandb login`, or set WANDB_API_KEY.")
    import wandb

    try:
        reached = wandb.Api(timeout=_TIMEOUT_SECONDS).viewer is not None
    except Exception as error:
        raise SpecError(f"W&B cannot be used: {str(error).strip() or type(error).__name__}") from None
    if not reached:
        raise SpecError("W&B does not take the API key: run `wandb login --relogin`, or set WANDB_API_KEY.")


def last_steps(tracking: WandbConfig, run_ids: Sequence[str]) -> dict[str, int]:
    """Of those of the runs that W&B knows, the last step that it has; -1 of a run without rows."""
    import wandb

    api = wandb.Api(timeout=_TIMEOUT_SECONDS)
    project = f"{tracking.entity or api.default_entity}/{tracking.project}"
    try:
        found = list(api.runs(project, filters={"name": {"$in": list(run_ids)}}, per_page=len(run_ids), lazy=True))
    except ValueError:  # the project is made by the first run
        return {}
    return {run.id: run.lastHistoryStep for run in found}
