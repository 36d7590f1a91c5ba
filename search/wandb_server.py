"""Whether W&B can be asked, and what it says of a run. Writes nothing."""

from collections import Counter

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


def num_doubled_rows(tracking: WandbConfig, run_id: str) -> int:
    """How many rows of a run W&B has more than once. Each has a step of its own."""
    import wandb

    api = wandb.Api(timeout=_TIMEOUT_SECONDS)
    run = api.run(f"{tracking.entity or api.default_entity}/{tracking.project}/{run_id}")
    steps = Counter(row["_step"] for row in run.scan_history(keys=["_step"]))
    return sum(count - 1 for count in steps.values())
