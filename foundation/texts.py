"""Which texts can be stored and asked for: JSON can write some that no engine takes."""


def storable(text: str) -> bool:
    """Return whether a text is whole UTF-8 without the null character, at which SQL ends."""
    return "\x00" not in text and not any("\ud800" <= one <= "\udfff" for one in text)
