"""`$(NAME)` in commands, arguments, environment variables and subPathExpr.

`$(NAME)` becomes the variable's value where there is such a variable, and stays as it is where there is none;
`$$` is a dollar sign that starts nothing.
"""

from collections.abc import Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    return "".join(_pieces(text, variables, None))


def expand_strictly(text: str, variables: Mapping[str, str]) -> str:
    """LookupError, naming the variable, where there is none."""
    missing: list[str] = []
    found = "".join(_pieces(text, variables, missing))
    if missing:
        raise LookupError(f"missing value for {missing[0]}")
    return found


def _pieces(text: str, variables: Mapping[str, str], missing: list[str] | None) -> list[str]:
    pieces: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        pieces.append(text[at:dollar])
        piece, at = _after_dollar(text, dollar, variables, missing)
        pieces.append(piece)
    pieces.append(text[at:])
    return pieces


def _after_dollar(text: str, dollar: int, variables: Mapping[str, str], missing: list[str] | None) -> tuple[str, int]:
    """What stands for the dollar sign there and what follows it, and where the text goes on."""
    following = text[dollar + 1]
    if following == "$":
        return "$", dollar + 2
    end = text.find(")", dollar) if following == "(" else -1
    if end < 0:
        return text[dollar : dollar + 2], dollar + 2
    name = text[dollar + 2 : end]
    if name not in variables and missing is not None:
        missing.append(name)
    return variables.get(name, text[dollar : end + 1]), end + 1
