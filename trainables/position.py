"""Where in the data an optimizer step ends. Pure arithmetic: the same however a batch is cut into pieces."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPosition:
    """Turns optimizer steps into examples and passes. The last step of an epoch may have fewer examples."""

    num_examples: int
    """Examples of one epoch."""
    batch: int
    """Examples of one optimizer step, over all devices."""

    @staticmethod
    def of(arguments: Any, dataloader: Any) -> "DataPosition":
        """From transformers' training arguments and a trial's dataloader."""
        at_once = arguments.train_batch_size * arguments.world_size
        num_examples = len(dataloader.dataset)
        if arguments.dataloader_drop_last:
            num_examples -= num_examples % at_once
        return DataPosition(num_examples=num_examples, batch=at_once * arguments.gradient_accumulation_steps)

    def examples(self, step: int) -> int:
        """Examples seen when optimizer step `step` is done, repetitions counted."""
        steps_per_epoch = -(-self.num_examples // self.batch)
        epochs, steps = divmod(step, max(steps_per_epoch, 1))
        return epochs * self.num_examples + min(steps * self.batch, self.num_examples)

    def epoch(self, step: int) -> float:
        """Passes over the data when optimizer step `step` is done."""
        return round(self.examples(step) / max(self.num_examples, 1), 6)
