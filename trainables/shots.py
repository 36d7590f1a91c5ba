"""Which solved examples stand before a question, and in which order. Knows no model and no tokens."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainables.task_sections import PromptConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """A text and what is to be said of it."""

    text: str
    """As the template takes it."""
    answer: str
    """The name of its label, or its target."""


Choose = Callable[[str], Sequence[Shot]]
"""The shots for a question, the last one next to it."""


def shot_chooser(prompt: PromptConfig, pool: Sequence[Shot]) -> Choose:
    """How `prompt` takes shots from `pool`, the examples of train. Draws with a generator of its own."""
    if not prompt.shots:
        return lambda _: ()
    if prompt.order == "similar":
        return _most_similar(pool, number=prompt.shots)
    generator = random.Random(prompt.seed)
    draw = _balanced if prompt.order == "label-balanced" else _random
    fixed = draw(pool, prompt.shots, generator)
    return lambda _: fixed


def _random(pool: Sequence[Shot], number: int, generator: random.Random) -> list[Shot]:
    return generator.sample(pool, min(number, len(pool)))


def _balanced(pool: Sequence[Shot], number: int, generator: random.Random) -> list[Shot]:
    """Each answer as often as every other, as far as the number allows, in an order that is drawn."""
    by_answer: dict[str, list[Shot]] = defaultdict(list)
    for shot in pool:
        by_answer[shot.answer].append(shot)
    queues = [by_answer[answer] for answer in sorted(by_answer)]
    for queue in queues:
        generator.shuffle(queue)
    generator.shuffle(queues)  # which labels have one more, where the number does not divide evenly
    taken: list[Shot] = []
    while len(taken) < min(number, len(pool)):
        taken += [queue.pop() for queue in queues if queue][: number - len(taken)]
    generator.shuffle(taken)
    return taken


def _most_similar(pool: Sequence[Shot], *, number: int) -> Choose:
    """By the cosine of tf-idf vectors of words; of equals the first in train. The nearest stands next to the question:
    models heed most what they read last."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b|[^\w\s]", sublinear_tf=True)
    known = vectorizer.fit_transform([shot.text for shot in pool])

    def nearest(text: str) -> list[Shot]:
        similarity = (known @ vectorizer.transform([text]).T).toarray()[:, 0]
        best = np.argsort(-similarity, kind="stable")[:number]
        return [pool[place] for place in best[::-1]]

    return nearest
