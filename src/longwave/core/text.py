"""What every database can hold: no NUL (PostgreSQL has none), and no halves of surrogate pairs, which are no text."""


def storable(text: str) -> str:
    """Others' words with a replacement character where a database would refuse them."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def is_storable(text: str) -> bool:
    """Whether every database holds `text` as it is."""
    return storable(text) == text
