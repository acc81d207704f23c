"""Licences as they are written, and the few names we call them by.

cc0  pd  cc-by  cc-by-sa  cc-by-nd  cc-by-nc  cc-by-nc-sa  cc-by-nc-nd   what the holder allows
reserved    all rights reserved, or a site's own terms ("Standard YouTube License")
unknown     nothing is said
"""

from __future__ import annotations

import re

from aria_data.errors import ConfigInvalid

LICENCES = (
    "cc0",
    "pd",
    "cc-by",
    "cc-by-sa",
    "cc-by-nd",
    "cc-by-nc",
    "cc-by-nc-sa",
    "cc-by-nc-nd",
    "reserved",
    "unknown",
)
_ADDRESS = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)")
_CODE = re.compile(r"\b(?:cc|creative commons|licen[cs]ed?)?[\s_-]*\b(by(?:[\s_-]*(?:nc|nd|sa))*)\b")
_WORDS = (  # in this order: the first that is found
    (r"\bcc[\s_-]*0\b|\bcc[\s_-]*zero\b", "cc0"),
    (r"public[\s_-]*domain|\bpdm\b|domaine public|gemeinfrei|dominio p[uú]blico|общественное достояние", "pd"),
    (r"^pd([\s_-]|$)|\bno known copyright", "pd"),
    (r"all rights reserved|\bcopyright\b|©|\(c\)|standard youtube|alle rechte|tous droits|\breserved\b", "reserved"),
)


def licence_code(text: str) -> str:
    """Name the licence a text or address stands for; `unknown` for an empty one, `reserved` for one of a site's own.

    Never more generous than the text: of several, the one with most conditions.
    """
    said = " ".join(text.lower().split())
    if not said:
        return "unknown"
    codes = [_of_address(kind, name) for kind, name in _ADDRESS.findall(said)]
    if re.search(r"\bcc\b|creative commons|attribution", said):
        codes += [_in_order(match) for match in _CODE.findall(_in_words(said))]
    codes += [code for pattern, code in _WORDS if re.search(pattern, said)][:1] if not codes else []
    known = [code for code in codes if code in LICENCES]
    return max(known, key=LICENCES.index) if known else "reserved"


def parse_licences(text: str) -> tuple[str, ...]:
    """Read `cc0,cc-by,pd`. Raises `ConfigInvalid` for a name that is none of `LICENCES`."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        require_known(name, "--licence")
    return names


def require_known(name: str, where: str) -> None:
    """Raise `ConfigInvalid` unless it is one of `LICENCES`."""
    if name not in LICENCES:
        raise ConfigInvalid(f"{where}: {name!r} is no licence this knows. Known: {', '.join(LICENCES)}.")


def _of_address(kind: str, name: str) -> str:
    if kind == "publicdomain":
        return "cc0" if name == "zero" else "pd"
    return _in_order(name)


def _in_order(conditions: str) -> str:
    """`BY SA NC` and `by-nc-sa` are the same licence."""
    found = set(re.findall(r"by|nc|nd|sa", conditions))
    return "-".join(["cc", *(part for part in ("by", "nc", "nd", "sa") if part in found)])


def _in_words(said: str) -> str:
    """Creative Commons licences as their names are spelled out."""
    for words, part in (
        ("attribution", "by"),
        (r"non[\s-]?commercial", "nc"),
        (r"no[\s-]?deriv\w*", "nd"),
        (r"share[\s-]?alike", "sa"),
    ):
        said = re.sub(words, f" {part} ", said)
    return re.sub(r"[\s_-]+", " ", said)
