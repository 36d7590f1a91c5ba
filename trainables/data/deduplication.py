"""Remembers which texts were seen, exactly or nearly, and keeps no text. Knows no columns and no files."""

import hashlib
import re
from typing import Any

_DIGEST_BYTES = 16
_PERMUTATIONS = 128
_SHINGLE_CHARACTERS = 5
_SPACES = re.compile(r"\s+")


class ExactDuplicates:
    """Knows texts by a hash of 16 bytes."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, text: str) -> bool:
        """Whether `text` was never asked for before; from now on it was."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True


class NearDuplicates:
    """Knows texts by their MinHash signatures (Broder 1997), about a kilobyte each, found by locality-sensitive
    hashing. Similarity is the share of common pieces of five characters (Jaccard), case and spaces aside."""

    def __init__(self, similarity: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._similarity = similarity
        self._index = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS)
        self._signatures: list[Any] = []
        # Drawing the permutations anew for each text would cost more than the text.
        self._empty = MinHash(num_perm=_PERMUTATIONS, hashfunc=_hash)

    def is_new(self, text: str) -> bool:
        """Whether no earlier new text is as similar as asked for. One that is not new is not remembered."""
        import numpy as np

        signature = self._empty.copy()
        signature.update_batch(list(_shingles(text)))
        values = signature.hashvalues.astype(np.uint32)
        for number in self._index.query(signature):
            if np.mean(self._signatures[number] == values) >= self._similarity:
                return False
        self._index.insert(len(self._signatures), signature)
        self._signatures.append(values)
        return True


def _shingles(text: str) -> set[bytes]:
    plain = _SPACES.sub(" ", text.lower()).strip()
    last = max(len(plain) - _SHINGLE_CHARACTERS, 0)
    return {plain[start : start + _SHINGLE_CHARACTERS].encode("utf-8", "surrogatepass") for start in range(last + 1)}


def _hash(piece: bytes) -> int:
    import xxhash

    return int(xxhash.xxh32_intdigest(piece))
