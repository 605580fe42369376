"""What `mkdocs build` adds to the pages: the keys of the configuration, by `snowmap.config`."""

import html
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import yaml

from snowmap.config import schema

MARK = re.compile(r"<!-- keys: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where the page asks for them; MkDocs calls this for every page."""
    return MARK.sub(lambda mark: key_tables(getattr(schema, mark[1])), markdown)


def key_tables(config: type) -> str:
    """The keys of a configuration: those of the top, then a section for each part."""
    top, parts = [], []
    for entry in fields(config):
        if entry.name in schema.NAMED and entry.type is Any:
            parts.append("".join(_named(entry.name)))
        elif is_dataclass(entry.type):
            parts.append(_section(f"{entry.name}", entry.type, f"{entry.name}."))
        else:
            top.append(entry.name)
    return _table(config, "", top) + "".join(parts)


def _named(group: str) -> Iterator[str]:
    """One section for each word of a group whose keys depend on it."""
    for name, kind in schema.NAMED[group].items():
        yield _section(f"{group}={name}", kind, f"{group}.")


def _section(title: str, kind: type, prefix: str) -> str:
    words = (inspect.getdoc(kind) or "").replace("\n", " ")
    names = [entry.name for entry in fields(kind) if not (entry.name == "name" and prefix[:-1] in schema.NAMED)]
    return f"\n### `{title}`\n\n{words}\n\n" + (_table(kind, prefix, names) if names else "")


def _table(kind: type, prefix: str, names: list[str]) -> str:
    return "\n".join(["| key | default | |", "|---|---|---|", *_rows(kind, prefix, names)]) + "\n"


def _rows(kind: type, prefix: str, names: list[str]) -> Iterator[str]:
    comments = _comments(kind)
    for entry in fields(kind):
        if is_dataclass(entry.type):
            inner = [key.name for key in fields(entry.type)] if entry.name in names else []
            yield from _rows(entry.type, f"{prefix}{entry.name}.", inner)
        elif entry.name in names:
            notes = [entry.metadata["expected"].words if "expected" in entry.metadata else "", comments.get(entry.name)]
            words = html.escape("; ".join(filter(None, notes))).replace("|", "\\|").replace("None", "null")
            yield f"| `{prefix}{entry.name}` | {_default(entry)} | {words} |"


def _comments(kind: type) -> dict[str, str]:
    """The comment behind each field, those of the classes below included."""
    lines = [line for base in reversed(kind.__mro__[:-1]) for line in inspect.getsource(base).splitlines()]
    matches = (re.fullmatch(r"    (\w+):.*?  # (.+)", line) for line in lines)
    return {match[1]: match[2] for match in matches if match}


def _default(entry: Any) -> str:
    value = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    if value in (schema.MISSING, MISSING):
        return ""
    word = yaml.safe_dump(value, default_flow_style=True, width=200).removesuffix("\n...\n").strip()
    return f"`{word}`"
