"""What is wrong in a configuration, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

_WANTED = {
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "model_attributes_type": "expected a table",
    "path_type": "expected a path, as text",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "finite_number": "expected a finite number",
}
"""By pydantic's type of problem: its own words are for programmers."""


class Unshown(ValueError):
    """A mistake in what may be a secret: what came is not told."""


def explain(problem: Any, whole: type[BaseModel]) -> str:
    """One pydantic problem as a sentence: where, what was expected, what came."""
    location = [str(part) for part in problem["loc"]]
    members = _members(whole, location[0]) if location else ()
    # pydantic names the union's member too, behind the place in a list if it is one
    named = [i for i, part in enumerate(location) if 0 < i < 3 and part in {_kind(m) for m in members}]
    key = ".".join(part for i, part in enumerate(location) if i not in named[:1])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(whole, location[:-1])
        near = difflib.get_close_matches(location[-1], known, 1)
        hint = f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(sorted(known))}"
        return f"unknown key `{key}`{hint}"
    if problem["type"] == "union_tag_invalid":
        return _unknown_kind(f"{key}.kind", problem["ctx"])
    wanted, got = _WANTED.get(problem["type"], problem["msg"].removeprefix("Value error, ")), problem["input"]
    # tables and addresses may hold secrets
    is_secret = isinstance(problem.get("ctx", {}).get("error"), Unshown)
    hidden = is_secret or isinstance(got, dict | list | tuple) or key.endswith("url")
    shown = "" if hidden else f", got {got!r}"
    return f"`{key}`: {wanted[:1].lower()}{wanted[1:]}{shown}"


def _unknown_kind(key: str, context: Any) -> str:
    """context: pydantic's, with the tag that came and, quoted, those that could have."""
    known = [kind.strip("' ") for kind in context["expected_tags"].split(",")]
    near = difflib.get_close_matches(context["tag"], known, 1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return f"`{key}`: expected {', '.join(known)}, got {context['tag']!r}{hint}"


def _known_keys(whole: type[BaseModel], location: list[str]) -> list[str]:
    """The fields of the table at a location (part, then kind where the part is a union)."""
    if not location:
        return list(whole.model_fields)
    members = _members(whole, location[0])
    for member in members:
        if len(members) == 1 or _kind(member) in location[1:]:
            return [name for name in member.model_fields if name != "kind"]
    return []


def _members(whole: type[BaseModel], part: str) -> tuple[type[BaseModel], ...]:
    """The tables that a part may be, or may be a list of."""

    def tables(annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for inner in getattr(annotation, "__args__", ()):
            yield from tables(inner)

    field = whole.model_fields.get(part)
    return () if field is None else tuple(tables(field.annotation))


def _kind(member: type[BaseModel]) -> str | None:
    kind = member.model_fields.get("kind")
    return None if kind is None else str(kind.default)
