"""What is wrong with a value of the TOML file, for a person who knows TOML and no Python."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from edgead_runtime.errors import ConfigError
from edgead_runtime.service.example import example_of
from edgead_runtime.service.titles import (
    LISTS,
    SINKS,
    TITLES,
    TOP,
    entry_at,
    table_at,
    tables_with,
    title_at,
    words_for,
)

_WHERE = re.compile(r"(?: - at `\$\.?(?P<path>[^`]*)`)$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_NO_WORD = re.compile(r"Invalid (?:enum )?value '(?P<value>.*)'$", re.DOTALL)
_EXPECTED = re.compile(
    r"Expected `(?P<kind>\w+)[^`]*`"
    r"(?: (?P<bound>>=|>|<=|<) (?P<number>[-+.\de]+)| of length (?P<at_least>>= )?(?P<length>\d+))?"
    r"(?:, got (?P<got>.+))?$"
)
_ALL_INDEXES = re.compile(r"\[[^\]]*\]")
_KINDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "a list in brackets",
    "object": "a table",
    "null": "nothing",
}
_BOUNDS = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}
_VERY_CLOSE = 0.8
_FEW = 4
"""Tables that have a field of one name: of more, none is a hint."""
_EXAMPLE = "`edgead run --print-config` shows all there are."


def in_words(message: str, name: str, data: Mapping[str, Any]) -> ConfigError:
    """What msgspec says, with the file, the place and what to do.

    Args:
        message: Of its ``ValidationError``.
        name: Of the file.
        data: What is in it.
    """
    found = _WHERE.search(message)
    path = found["path"] if found else ""
    what = message[: found.start()] if found else message
    field, problem, remedy = _problem(what, path, data)
    place = place_of(".".join(part for part in (path, field) if part), data)
    return ConfigError(": ".join(part for part in (name, place, problem) if part), remedy)


def not_toml(message: str, text: bytes) -> str:
    """What to do about a line that is no TOML, by the mistakes that people make.

    Args:
        message: Of the TOML parser, with the number of the line.
        text: The file's.
    """
    number = re.search(r"at line (\d+)", message)
    lines = text.decode("utf-8", errors="replace").splitlines()
    place = int(number[1]) if number else 0
    line = lines[place - 1] if 1 <= place <= len(lines) else ""
    if re.search(r"=\s*-?\d+,\d", line):
        return "Write decimals with a point: 0.3."
    if "\\" in message:
        return "Write paths with / or in single quotes."
    if message.startswith("Invalid value"):
        return 'Put texts in quotes: "...".'
    if message.startswith("Cannot"):
        return "Write each table once, and cameras and sinks in two brackets: [[camera]], [[sink]]."
    return "Mend that line."


def _problem(what: str, path: str, data: Mapping[str, Any]) -> tuple[str, str, str]:
    """The field that the path does not name, what is wrong, and what to do."""
    if unknown := _UNKNOWN.match(what):
        return unknown["name"], "there is no such field", _hint(unknown["name"], path, data)
    if missing := _MISSING.match(what):
        is_type = missing["name"] == "type" and path.startswith("sink[")
        return missing["name"], "it is missing", f"Add it: {_choice(list(SINKS))}." if is_type else "Add it."
    if no_word := _NO_WORD.match(what):
        return "", *_no_such_word(no_word["value"], path, data)
    if expected := _EXPECTED.match(what):
        problem, remedy = _expected(expected, path, _at(path, data))
        return "", problem, remedy or _as_in_the_example(path, data)
    return "", f"{what[:1].lower()}{what[1:]}", "Correct that field."


def _no_such_word(value: str, path: str, data: Mapping[str, Any]) -> tuple[str, str]:
    table, _, field = path.rpartition(".")
    if path.startswith("sink[") and field == "type":
        words = list(SINKS)
    else:
        words = words_for(table_at(table, data), field.partition("[")[0])
    close = difflib.get_close_matches(value.lower(), words, 1)
    remedy = f"Did you mean {close[0]}? " if close else ""
    return f"there is no {value!r}", f"{remedy}It takes {_choice(words)}." if words else "Correct it."


def _expected(found: re.Match[str], path: str, value: Any) -> tuple[str, str]:
    """What is wrong, and what to do where that is clear from it."""
    field = _ALL_INDEXES.sub("", path.rpartition(".")[2])
    kind, got = found["kind"], (found["got"] or "").strip("`")
    if kind == "array" and got == "object" and field in LISTS:
        table = path.rpartition(".")[0].partition("[")[0]
        title = f"{table}.{field}" if table else field
        return "there may be several of it", f"Write [[{title}]], in two brackets."
    if kind == "object" and isinstance(value, list) and all(isinstance(each, dict) for each in value):
        title = _ALL_INDEXES.sub("", path)
        return "there is one of it", f"Write [{title}], in one pair of brackets."
    if found["bound"]:
        return f"it takes {_KINDS[kind]} {_BOUNDS[found['bound']]} {float(found['number']):g}", ""
    if found["length"]:
        if kind == "str":
            return "it is empty", "Write something."
        least = "at least " if found["at_least"] else ""
        has = f", and has {got}" if got else ""
        return f"it takes {least}{found['length']} values{has}", ""
    if (kind, got) == ("int", "float"):
        return "it takes a whole number, and this one is none", ""
    remedy = ""
    if kind == "str":
        remedy = 'Put it in quotes: "...".'
    elif kind == "bool":
        remedy = "Write true or false, without quotes."
    elif got == "str" and kind in ("float", "int"):
        remedy = "Write it without quotes."
    return f"it takes {_KINDS.get(kind, kind)}, and this is {_KINDS.get(got, got)}", remedy


def _as_in_the_example(path: str, data: Mapping[str, Any]) -> str:
    table, _, field = _last_table(path)
    title = title_at(table, data).replace("[camera.drift]", "[drift]")
    written = example_of(title, field)
    return f"Correct it, e.g. {written}." if written else "Correct it."


def _last_table(path: str) -> tuple[str, str, str]:
    """The table that a value is in, and the field that it is of: of ``a[0].crop[3]`` ``crop``."""
    table, dot, field = path.rpartition(".")
    return table, dot, _ALL_INDEXES.sub("", field)


def _at(path: str, data: Mapping[str, Any]) -> Any:
    """The value at a path; ``None`` where there is no telling."""
    value: Any = data
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def place_of(path: str, data: Mapping[str, Any]) -> str:
    """``camera left: rules.hits`` instead of ``camera[0].rules.hits``.

    Args:
        path: As msgspec gives it.
        data: What is in the file, for names.
    """
    if not path:
        return ""
    first, _, rest = path.partition(".")
    name, _, index = first.partition("[")
    index = index.partition("]")[0]
    rest = rest if rest.startswith("zone[") else _ALL_INDEXES.sub("", rest)
    if name == "camera" and index.isdecimal():
        camera = entry_at(data, "camera", index)
        parts = [f"camera {_called(camera, index)}", *_in_zone(rest, camera)]
    elif name == "sink" and index.isdecimal():
        kind = entry_at(data, "sink", index).get("type")
        parts = [f"sink {int(index) + 1}" + (f" ({kind})" if isinstance(kind, str) else ""), rest]
    else:
        parts = [".".join(part for part in (name, rest) if part)]
    return ": ".join(part for part in parts if part)


def _in_zone(rest: str, camera: Mapping[str, Any]) -> list[str]:
    found = re.match(r"zone\[(\d+)\]\.?(.*)$", rest)
    if found is None:
        return [rest]
    zone = entry_at(camera, "zone", found[1])
    return [f"zone {_called(zone, found[1])}", _ALL_INDEXES.sub("", found[2])]


def _called(table: Mapping[str, Any], index: str) -> str:
    name = table.get("name")
    return name if isinstance(name, str) and name else str(int(index) + 1)


def _hint(field: str, path: str, data: Mapping[str, Any]) -> str:
    """What somebody who wrote a field that is not there may have meant."""
    here = table_at(path, data)
    elsewhere = tables_with(field)
    if not isinstance(_at(".".join(part for part in (path, field) if part), data), (dict, list)):
        elsewhere = [title for title in elsewhere if title != TOP]  # where there are tables alone
    if 1 <= len(elsewhere) <= _FEW:
        return f"It belongs into {_choice(elsewhere)}."
    fields = () if here is None else here.__struct_fields__
    if close := difflib.get_close_matches(field, fields, 1):
        return f"Did you mean {close[0]}?"
    # Last, since a word that is like one of another table is less of a hint.
    known = {
        each: title for title, table in TITLES.items() if title != TOP for each in table.__struct_fields__
    }
    if close := difflib.get_close_matches(field, sorted(known), 1, _VERY_CLOSE):
        return f"Did you mean {close[0]}, in {known[close[0]]}?"
    return f"It takes {_choice(list(fields))}." if fields else _EXAMPLE


def _choice(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
