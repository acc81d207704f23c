"""Read the licences that sites write in many ways as one of a few codes.

cc0  pd  cc-by  cc-by-sa  cc-by-nd  cc-by-nc  cc-by-nc-sa  cc-by-nc-nd   what the holder allows
reserved    all rights reserved, or a site's own terms ("Standard YouTube License")
unknown     the text is empty
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
_WORDS = (  # the first that is found counts
    (r"\bcc[\s_-]*0\b|\bcc[\s_-]*zero\b", "cc0"),
    (r"public[\s_-]*domain|\bpdm\b|domaine public|gemeinfrei|dominio p[uú]blico|общественное достояние", "pd"),
    (r"^pd([\s_-]|$)|\bno known copyright", "pd"),
    (r"all rights reserved|\bcopyright\b|©|\(c\)|standard youtube|alle rechte|tous droits|\breserved\b", "reserved"),
)


def licence_code(text: str) -> str:
    """Give the code (one of `LICENCES`) of a licence's text or address: `unknown` for an empty text, `reserved` for a
    licence that is not known.

    Of several licences in a text, the one with the most conditions counts.
    """
    plain = " ".join(text.lower().split())
    if not plain:
        return "unknown"
    codes = [_of_address(kind, name) for kind, name in _ADDRESS.findall(plain)]
    if re.search(r"\bcc\b|creative commons|attribution", plain):
        codes += [_in_order(match) for match in _CODE.findall(_in_words(plain))]
    codes += [code for pattern, code in _WORDS if re.search(pattern, plain)][:1] if not codes else []
    known = [code for code in codes if code in LICENCES]
    return max(known, key=LICENCES.index) if known else "reserved"


def parse_licences(text: str) -> tuple[str, ...]:
    """Read `cc0,cc-by,pd`. Raises `ConfigInvalid` for a name that is none of `LICENCES`."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        require_known(name, "--licence")
    return names


def require_known(name: str, where: str) -> None:
    """Raise `ConfigInvalid` unless `name` is one of `LICENCES`; `where` is the setting that named it."""
    if name not in LICENCES:
        raise ConfigInvalid(f"{where}: {name!r} is no licence this knows. Known: {', '.join(LICENCES)}.")


def _of_address(kind: str, name: str) -> str:
    if kind == "publicdomain":
        return "cc0" if name == "zero" else "pd"
    return _in_order(name)


def _in_order(conditions: str) -> str:
    """Put the conditions in one order: `BY SA NC` and `by-nc-sa` are the same licence."""
    found = set(re.findall(r"by|nc|nd|sa", conditions))
    return "-".join(["cc", *(part for part in ("by", "nc", "nd", "sa") if part in found)])


def _in_words(text: str) -> str:
    """Replace the conditions of Creative Commons licences that are spelled out by their short forms."""
    for words, part in (
        ("attribution", "by"),
        (r"non[\s-]?commercial", "nc"),
        (r"no[\s-]?deriv\w*", "nd"),
        (r"share[\s-]?alike", "sa"),
    ):
        text = re.sub(words, f" {part} ", text)
    return re.sub(r"[\s_-]+", " ", text)
