"""Names of files with dates in them, as a user writes them: ``{start:%Y%m%d}_{end:%Y%m%d}_cc.tif``."""

import re
from datetime import datetime

import numpy as np

DIRECTIVES = {**dict.fromkeys("ymdHMS", r"\d\d"), "Y": r"\d{4}", "j": r"\d{3}", "b": "[A-Za-z]{3}"}
"""Of `datetime.strptime`, as regular expressions."""
_PARTS = re.compile(r"\{(?P<date>\w+):(?P<format>[^}]+)\}|\{(?P<word>[a-z]+)\}|(?P<star>\*)|(?P<text>[^{*]+|\{)")


def day_of(digits: str) -> np.datetime64:
    """The day of eight digits, such as 20210109."""
    return np.datetime64(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}", "D")


class Name:
    """A pattern that names of files are matched with: dates and words in braces, ``*`` for anything within a folder.

    Attributes:
        text: The pattern.
        dates: Names of the dates in it.
        words: Names of the words in it, such as ``{band}``.

    Raises:
        ValueError: When a format of a date is not one of digits and months.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._formats: dict[str, str] = {}
        self.words = set[str]()
        self._expression = re.compile("".join(map(self._part, _PARTS.finditer(text))))
        self.dates = set(self._formats)

    def match(self, name: str) -> dict[str, np.datetime64] | None:
        """The dates in a name as datetime64[D], or None where it is another one."""
        matched = self._expression.fullmatch(name)
        if not matched:
            return None
        try:
            days = {date: datetime.strptime(matched[date], form) for date, form in self._formats.items()}
        except ValueError:  # digits that are no day
            return None
        return {date: np.datetime64(day.date()) for date, day in days.items()}

    def match_words(self, name: str) -> dict[str, str]:
        """The words in a name that matches."""
        matched = self._expression.fullmatch(name)
        return {word: matched[word] for word in self.words} if matched else {}

    def _part(self, part: re.Match[str]) -> str:
        if part["star"]:
            return "[^/]*"
        if part["text"]:
            return re.escape(part["text"])
        if part["word"]:
            again = part["word"] in self.words
            self.words.add(part["word"])
            return f"(?P={part['word']})" if again else f"(?P<{part['word']}>[^/]+?)"
        date, form = part["date"], part["format"]
        if self._formats.setdefault(date, form) != form:
            raise ValueError(f"two formats of {date}")
        again = f"{{{date}:" in self.text[: part.start()]
        return f"(?P={date})" if again else f"(?P<{date}>{_expression(form)})"


def _expression(form: str) -> str:
    pieces = re.split(r"%(.)", form)
    unknown = [f"%{letter}" for letter in pieces[1::2] if letter not in DIRECTIVES]
    if unknown or len(pieces) == 1:
        raise ValueError(f"{form}: expected a date of {' '.join(f'%{letter}' for letter in DIRECTIVES)}")
    return "".join(DIRECTIVES[piece] if index % 2 else re.escape(piece) for index, piece in enumerate(pieces))
