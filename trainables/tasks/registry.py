"""All tasks by name."""

from trainables.config import TaskName
from trainables.tasks import causal_lm, sequence_classification
from trainables.tasks.task import Task

TASKS: dict[TaskName, Task] = {task.name: task for task in (causal_lm.TASK, sequence_classification.TASK)}
