"""A trial sharded by FSDP2 over two CPU processes, whole and interrupted. Run by `torchrun`; prints one JSON document.

accelerate shards on GPUs only. torch does so on CPUs too, so accelerate is told here that it may: what is ours in a
sharded trial - reports, checkpoints, resuming - then runs as it does on GPUs.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import accelerate.state
from accelerate.utils import DistributedType
from tiny_trials import TINY_LLAMA, Document, prose

from spaces.reports import TrialReport, TrialStopped
from trainables.checkpoints import TrialDirectory
from trainables.ranks import Ranks, launched_ranks
from trainables.trial import parse_document, run_trial

_as_it_is = accelerate.state.AcceleratorState.__init__


def _sharding_on_cpus(self: Any, *arguments: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    _as_it_is(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
        accelerate.state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def train(document: Document, folder: Path, ranks: Ranks, *, stop_after: int | None = None) -> list[Any]:
    """Step, tokens and loss of each evaluation, and the last checkpoint."""
    reports: list[TrialReport] = []

    def report(made: TrialReport) -> None:
        reports.append(made)
        if len(reports) == stop_after:
            raise TrialStopped

    attempt = ranks.gather(TrialDirectory(folder).begin_attempt() if ranks.is_first else 0)[0]
    with contextlib.suppress(TrialStopped):
        directory = TrialDirectory(folder, attempt=attempt)
        outcome = run_trial(parse_document(document), report, directory=directory, ranks=ranks)
        assert outcome.failure is None, outcome.failure
    return [
        [[each.progress.step, each.progress.tokens, each.metrics["eval/loss"]] for each in reports],
        reports[-1].checkpoint,
    ]


if __name__ == "__main__":
    root = Path(sys.argv[1])
    accelerate.state.AcceleratorState.__init__ = _sharding_on_cpus
    with launched_ranks() as ranks:
        written = None
        if ranks.is_first:  # the text's time of writing is part of what names the data
            written = prose(root, architecture="llama", config=TINY_LLAMA, per_device_train_batch_size=2)
        replicated = ranks.gather(written)[0]
        replicated["training"] |= {"eval_strategy": "steps", "eval_steps": 3}
        sharded = replicated | {"training": replicated["training"] | {"fsdp": True}}
        came = {
            "replicated": train(replicated, root / "replicated", ranks),
            "whole": train(sharded, root / "whole", ranks),
            "begun": train(sharded, root / "resumed", ranks, stop_after=2),
            "resumed": train(sharded, root / "resumed", ranks),
        }
        if ranks.is_first:
            print(json.dumps(came))
