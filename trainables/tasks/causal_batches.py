"""Batches for causal language models: whole blocks, blocks whose documents do not see each other, padded documents."""

from typing import TYPE_CHECKING

from spaces.errors import SpecError
from trainables.tasks.padding import IGNORED_LABEL, pad_labels, padded_length

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Examples = list[dict[str, list[int]]]


def stack(examples: Examples) -> "dict[str, Tensor]":
    """Blocks of one length: there is nothing to pad and no mask to carry."""
    import torch

    input_ids = torch.tensor([example["input_ids"] for example in examples])
    return {"input_ids": input_ids, "labels": input_ids.clone()}


def stack_isolated(examples: Examples, *, separator: int) -> "dict[str, Tensor]":
    """Blocks whose positions begin anew at each separator. It ends the document before it, which predicts it, and
    begins the one behind it, whose first token it predicts.

    transformers takes positions that begin anew for documents that must not see each other, in every kind of attention,
    as long as there is no attention mask.
    """
    batch = stack(examples)
    return batch | {"position_ids": document_positions(batch["input_ids"], separator=separator)}


def document_positions(input_ids: "Tensor", *, separator: int) -> "Tensor":
    """Each token's distance (batch, length) to the separator before it, or else to the beginning of its block."""
    import torch

    places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    begins = torch.where(input_ids == separator, places, 0).cummax(dim=1).values
    return places - begins


def pad_documents(examples: Examples, *, padding: int, max_length: int) -> "dict[str, Tensor]":
    """Documents of a batch, padded behind to the longest. By length and not by token: the padding token of many
    tokenizers is the separator, which does count at the end of a document."""
    import torch

    rows = [example["input_ids"] for example in examples]
    length = padded_length(rows, max_length=max_length)
    labels = pad_labels(rows, length=length)
    counts = labels != IGNORED_LABEL
    return {"input_ids": torch.where(counts, labels, padding), "attention_mask": counts.long(), "labels": labels}


def prove_isolation(model: "PreTrainedModel") -> None:
    """Raise SpecError unless what a document's tokens give is the same whatever stands before it in the block."""
    import torch

    was_training = model.training
    model.eval()
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]], device=model.device)
    before, other = (torch.tensor([ids], device=model.device) for ids in ([1, 2, 3, 1, 2, 3], [3, 1, 1, 1, 2, 3]))
    try:
        with torch.no_grad():
            logits, expected = (
                model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, -3:] for ids in (before, other)
            )
        is_isolated = bool(torch.allclose(logits, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())))
    except TypeError:  # a model without positions
        is_isolated = False
    finally:
        model.train(was_training)
    if not is_isolated:
        raise SpecError(
            f"`isolated` does not work with {type(model).__name__}: its tokens see what stands before their document. "
            "Use `none` or `stream`.",
            path="data.packing",
        )
