"""Packing: nothing added but separators, nothing lost but the tail."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.packing import BlockPacker

EOS = 9


def pack(batches: list[list[list[int]]], *, max_length: int) -> list[list[int]]:
    packer = BlockPacker(max_length=max_length, separator=EOS)
    blocks = [packer.add(batch) for batch in batches] + [packer.finish()]
    return [block for part in blocks for block in part.tolist()]


def test_blocks_run_over_document_ends_with_a_separator_between() -> None:
    assert pack([[[1, 2], [3]]], max_length=3) == [[1, 2, EOS]]
    assert pack([[[1, 2], [3, 4, 5]]], max_length=3) == [[1, 2, EOS], [3, 4, 5]]


def test_the_only_block_may_be_short() -> None:
    assert pack([[[1, 2]]], max_length=8) == [[1, 2, EOS]]


def test_no_documents_give_no_blocks() -> None:
    assert pack([[]], max_length=8) == []


@settings(max_examples=60, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 8), max_size=7), min_size=1, max_size=20),
    max_length=st.integers(2, 6),
    cut=st.integers(0, 20),
)
def test_batches_change_nothing_and_only_an_unfilled_block_is_dropped(
    documents: list[list[int]], max_length: int, cut: int
) -> None:
    stream = [token for document in documents for token in [*document, EOS]]
    packed = pack([documents[:cut], documents[cut:]], max_length=max_length)
    kept = [token for block in packed for token in block]
    assert kept == stream[: len(kept)]
    assert len(stream) - len(kept) < max_length


def test_token_count_includes_separators_and_the_dropped_tail() -> None:
    packer = BlockPacker(max_length=4, separator=EOS)
    packer.add([[1, 2, 3, 4], [5]])
    assert packer.num_tokens == 7


def test_a_million_tokens_pack_in_linear_time() -> None:
    begun = time.process_time()  # the machine may have others to serve
    packer = BlockPacker(max_length=128, separator=EOS)
    document = list(range(1000))
    blocks = np.concatenate([packer.add([document] * 100) for _ in range(10)])
    assert len(blocks) == 1_001_000 // 128
    assert time.process_time() - begun < 20
