"""The types of arguments that a training takes, for every command line that asks for one."""

from collections.abc import Callable


def whole(least: int) -> Callable[[str], int]:
    """A type of argument: a whole number from `least` to what a seed can be."""

    def whole_number(text: str) -> int:
        number = int(text)
        if not least <= number < 2**32:
            raise ValueError
        return number

    return whole_number
