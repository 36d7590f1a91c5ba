"""Which trials train to their end whatever their rank, so that what early ranks are worth can be learned."""

NUM_FIRST = 5
"""The first trials are scouts: fewer give no interval worth the name."""
EVERY = 20
"""After them, every so manieth trial."""


def is_scout(number: int) -> bool:
    """Whether trial `number` is one. By its number alone: what scouts show then holds for all trials."""
    return number < NUM_FIRST or number % EVERY == 0
