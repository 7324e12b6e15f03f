"""Of many names the first few, for the terminal."""

from collections.abc import Sequence

from elasticface.base.files import printable

EXAMPLES = 5


def with_examples(what: str, names: Sequence[str]) -> list[str]:
    """Lines that say how many ``names`` there are, and the first ``EXAMPLES`` of them; no line where there is none."""
    if not names:
        return []
    more = ["  …"] if len(names) > EXAMPLES else []
    return [f"{what}: {len(names):,}", *(f"  {printable(name)}" for name in names[:EXAMPLES]), *more]
