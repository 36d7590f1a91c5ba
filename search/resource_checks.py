"""Whether the trials of a space can run on what each is given."""

import sys

from search.space_checks import edge_values
from search.spec import SearchSpec
from spaces.errors import SpecError
from spaces.space import Space
from trainables.sharding import check_sharding_resources
from trainables.training_checks import check_needs_no_gpu


def check_resources(spec: SearchSpec, space: Space) -> None:
    """Raises SpecError where workers or GPUs are not what the trials need."""
    # Worker groups run our own loop only.
    if spec.trainable is not None and spec.resources.workers != 1:
        raise SpecError(
            f"a `trainable` trains in one worker, but got {spec.resources.workers}: its function would have to be "
            "started on each, and tunesmith does so for a `task` only. Run more trials at once instead.",
            path="resources.workers",
        )
    searched = next((each.distribution for each in space.parameters if each.path == "training.fsdp"), None)
    shards = spec.training.get("fsdp") or "training.fsdp" in space.derive
    if shards or (searched is not None and any(edge_values(searched))):
        check_sharding_resources(
            workers=spec.resources.workers, gpus_per_worker=spec.resources.gpus_per_worker
        )  # fmt: skip
    gpus = spec.resources.gpus_per_worker
    if gpus > 1 and not gpus.is_integer():
        raise SpecError(
            f"a trial takes a part of one GPU or whole ones, but got {gpus:g}.", path="resources.gpus_per_worker"
        )
    if spec.model is not None and spec.model.quantization is not None and not gpus:
        raise SpecError(
            "loading in 4 or 8 bits needs a GPU: set `resources.gpus_per_worker`.", path="model.quantization"
        )


def check_precision(spec: SearchSpec, space: Space) -> None:
    """What needs a GPU is refused before a search without one begins. Ray knows nothing of an Apple GPU."""
    if spec.task is None or spec.resources.gpus_per_worker or sys.platform == "darwin":
        return
    try:
        check_needs_no_gpu(spec.training)
    except SpecError as error:
        raise error.at("training") from None
    for parameter in space.parameters:
        section, _, name = parameter.path.partition(".")
        if section != "training":
            continue
        for value in edge_values(parameter.distribution):
            try:
                check_needs_no_gpu({name: value})
            except SpecError as error:
                raise SpecError(error.message, path=f"space.{parameter.path}") from None
