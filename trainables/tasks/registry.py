"""All tasks by name."""

from trainables.config import DataConfig, TaskName
from trainables.tasks import (
    causal_lm,
    few_shot,
    instruction_tuning,
    masked_lm,
    preference,
    seq2seq_lm,
    sequence_classification,
    token_classification,
)
from trainables.tasks.task import Task

_ALL = (
    causal_lm, masked_lm, seq2seq_lm, sequence_classification, token_classification, instruction_tuning, preference,
    few_shot,
)  # fmt: skip

TASKS: dict[TaskName, Task] = {module.TASK.name: module.TASK for module in _ALL}


def foreign_options(task: TaskName, data: DataConfig) -> dict[str, list[TaskName]]:
    """Keys of `data` that were set but that `task` does not read -> the tasks that do."""
    owners: dict[str, list[TaskName]] = {}
    for known in TASKS.values():
        for option in known.options:
            owners.setdefault(option, []).append(known.name)
    defaults = type(data).model_fields
    return {
        option: names
        for option, names in owners.items()
        if task not in names and getattr(data, option) != defaults[option].default
    }
