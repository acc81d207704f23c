"""Find the part of a work that a title names: a movement ("III.", "3. Satz", 第3楽章), a piece of a set, a dance.

Functions that return a number and the words it was read from give both as strings, and None if there is none.
"""

from __future__ import annotations

import re
from itertools import pairwise

from aria_data.repertoire.forms import NUMBER_SIGN, ORDINAL_END, ORDINALS, arabic, find_form, find_forms, word_list
from aria_data.text import fold

MULTI_MOVEMENT = frozenset({"sonata", "sonatina", "suite", "partita", "concerto", "symphony", "serenade", "overture"})
COUNTED_THROUGH = MULTI_MOVEMENT | {"rhapsody", "ballade", "scherzo", "barcarolle", "impromptu", "invention"}
GENERIC = frozenset(
    {"major", "minor", "flat", "sharp", "dur", "moll", "for", "and", "the", "from", "posth", "opus", "book", "arr"}
)
NOISE = re.compile(
    r"[(\[][^()\[\]]{0,80}[)\]]|\b(?:live|remaster\w*|(?:19|20)[0-9]{2}|recording|version|edit|mono|stereo|hd|hq|piano|"
    r"solo|official|video|audio|klavier|pianoforte|digital|complete|full|score|sheet music|instrumental)\b|[\"“”„*]"
)
_PAIRS = re.compile(
    r"\b(?:preludes?|praeludi\w*|praludi\w*|fantasias?|fantasies?|toccatas?|chromatic fantasia)(?:, (?:chorale?|aria))?"
    r"(?:,? (?:and|und|et|e|y)|\s?&|,) (?:[0-9]{1,2} )?(?:fugues?|fugen?|fugas?)\b(?: no\.? ?[0-9]{1,2})?"
)
_PAIR_NUMBER = re.compile(r"\bno\.? ?([0-9]{1,2})\b")
_HOBOKEN_COLON = re.compile(r"\b[Hh](?:ob)?[.\s]{0,2}[IVXivx]{1,6}:")
_THEME = re.compile(r"\b(?:aria|thema|theme|tema)\b")
_MOVEMENT_WORD = (
    r"(?:mov(?:ement|imiento|imento|t)?s?|mvmt|mvt|mouvement|satz|sats|deel|czesc|cz\.|veta|tetel|часть|ч\.|"
    r"楽章|乐章|樂章|악장)"
)
_MOVEMENT_AFTER = re.compile(rf"(?<![a-zа-я]){_MOVEMENT_WORD}\.? ?(?P<written>[0-9]{{1,2}}|[ivx]{{1,4}})(?!\w)")
_MOVEMENT_BEFORE = re.compile(
    rf"(?<!\w)第?(?P<written>[0-9]{{1,2}}|[ivx]{{1,4}}|{'|'.join(ORDINALS)})"
    rf"(?:st|nd|rd|th|er|re|eme|e|o|a|º|ª|-я|\.)?[ .]{{0,2}}{_MOVEMENT_WORD}"
)
_AND = r"\s?(?:[-–&+,/]|to|bis|a|and|und|et|y|e|i|и|до)\s?(?:(?:and|und|et|&)\s)?"
_SEVERAL = re.compile(
    # 1st-3rd mov., mov. 1, 2 & 3, I-III, all movements
    rf"(?<!\w)[1-4]{ORDINAL_END}?\.?(?:{_AND}[2-5]{ORDINAL_END}?\.?)+ ?(?:{_MOVEMENT_WORD}|satze|части|частеи)"
    rf"|(?<![a-zа-я]){_MOVEMENT_WORD}\.? ?(?:[1-4](?:{_AND}[2-5])+|i{{1,3}}(?:{_AND}(?:i{{1,3}}|iv))+)(?!\w)"
    r"|(?<!\w)(?:[2-5]|two|three|four|drei|vier|trois|quatre|tres|tre|cuatro|quatro|quattro|trzy|три|четыре|all|alle|"
    r"tous les|todos los|todos os|tutti i|все|wszystkie) "
    r"(?:mov(?:ement|imiento|imento|t)?s|movimenti|mvts|mouvements|satze|delen|satser|czesci|части|часте)"
    r"|全[1-5]?(?:楽章|乐章|樂章)|전악장"
)
_ROMAN_RANGE = re.compile(r"(?<!\w)i{1,3}(?:\s?[-–&+,/]\s?(?:i{2,3}|iv|v))+(?![.\w])")  # of movements, or "Menuet I-II"
_LISTED = re.compile(r"(?<![^\s(:/,;–-])(?<!var\. )(?<!var )(?P<number>[ivx]{1,4}|[1-9])[.)]\s?(?=[^\W\d])")
_MARKER = re.compile(
    r"\s*(?P<number>[0-9]{1,2}|[ivx]{1,5})(?:(?P<letter>[a-d]?)(?:[.):]|\s?[-–](?=\s)|$)(?!\s?[0-9])"
    r"(?:\s?\((?P<inner>[a-d])\))?)"
)
_BARE_MARKER = re.compile(r"\s*(?P<number>[IVX]{1,4}) (?=[A-Z])")  # "III Presto"
_MARKER_INSIDE = re.compile(
    r"(?:\s[-–]\s?|, |\) |[\"”] |\. |/ ?|(?<=[0-9]) )(?P<number>[IVX]{1,4}|[0-9]{1,2}(?=[.)]\s?[A-Z]))"
    r"(?P<letter>[a-d]?)(?:[.):]|$| [-–])"
)
_TAIL_NUMBER = re.compile(
    rf"\s*(?:[a-z]{{4,}} ){{0,3}}{NUMBER_SIGN}\s?(?P<number>[0-9]{{1,3}}(?![0-9])|[ivx]{{1,5}}\b)"
    r"(?!\s?(?:[-–&]|to|and|und|et|bis)\s?(?:no\.?\s?)?[0-9]{1,2}(?![0-9.]))"  # "Nos. 1-4" is not one piece
)
_FORM_FIRST = re.compile(r"\s?(?P<number>[0-9]{1,2}|[ivx]{1,5})\b")
_VARIATION = re.compile(
    r"(?P<apart>\b(?:posth\w*|anhang|supplementary|appendix)\W{1,3})?"
    r"\bvar(?:iation|iatio|iazione|iace|iacion)?\.?\s?(?:no?\.?\s?|nr\.?\s?)?(?P<number>[0-9]{1,2}|[ivx]{1,6})\b"
)
_BOOK_OF = re.compile(r"\b(?:book|buch|livre|heft|band|vol|volume|cahier|libro)\.? ?([0-9]{1,2}|[ivx]{1,4})\b")


def find_movement_words(folded: str) -> tuple[str, str] | None:
    """A movement in words: "3rd movement", "2. Satz", "mvt 1", 第1楽章."""
    match = _MOVEMENT_AFTER.search(folded) or _MOVEMENT_BEFORE.search(folded)
    number = (ORDINALS.get(match["written"]) or arabic(match["written"])) if match else 0
    return (str(number), match.group()) if match and number else None


def names_several_movements(text: str) -> bool:
    """Whether a title names several movements: "I-III", "1st-3rd mov.", "all movements", "I. Allegro - II. Adagio"."""
    folded = fold(text)
    listed = [arabic(match["number"]) for match in _LISTED.finditer(folded)]
    if (1, 2) in pairwise(listed):  # "2. Allegretto - 3. Più allegro" is called by its first
        return True
    return bool(_SEVERAL.search(folded) or (not listed and _ROMAN_RANGE.search(folded)))


def find_marker(tail: str, is_multi: bool = False) -> tuple[str, str] | None:
    """The number that a part of a work starts with: "III. Presto", "2. Largo", "IIIa. Adagio", "III. (a) Adagio".

    `is_multi`: the work has movements, so that "III Presto" is the third.
    """
    match = _MARKER.match(fold(tail))
    if match and arabic(match["number"]):
        letter = match["letter"] or match["inner"] or ""
        return str(arabic(match["number"])) + letter, tail[: match.end()].strip(" .:-–")
    bare = _BARE_MARKER.match(tail) if is_multi else None
    return (str(arabic(bare["number"].lower())), bare.group().strip()) if bare else None


def find_marker_inside(text: str) -> tuple[str, str] | None:
    """As `find_marker`, after a dash, comma or bracket instead of a colon: "Op. 13 - III. Rondo", "K. 331, I"."""
    match = _MARKER_INSIDE.search(_HOBOKEN_COLON.sub(lambda each: "-" * len(each.group()), text))
    if match and arabic(match["number"].lower()):
        return str(arabic(match["number"].lower())) + match["letter"], match.group().strip(' .:-–,/)"')
    return None


def find_tail_number(tail: str) -> tuple[str, str] | None:
    """A part numbered with a No.: "No. 4 in D", "Valse oubliée No. 2"."""
    match = _TAIL_NUMBER.match(fold(tail))
    if match and arabic(match["number"]):
        return str(arabic(match["number"])), tail[: match.end()].strip()
    return None


def find_form_number(tail: str, form: str) -> tuple[str, str] | None:
    """A part numbered after the name of its form: "Etude III" of the Symphonic Etudes."""
    found = next(iter(find_forms(fold(tail))), None)
    if not found or found[0] != form or found[2] != 0:
        return None
    match = _FORM_FIRST.match(fold(tail), found[3])
    return (str(arabic(match["number"])), tail[: match.end()]) if match and arabic(match["number"]) else None


def find_variation(head: str, tail: str) -> str:
    """The variation of a set: "var7", or "book2-var3" if they are numbered in each book; "" if there is none."""
    folded = fold(tail)
    match = _VARIATION.search(folded)
    number = arabic(match["number"]) if match else 0
    if not match or not number:
        return ""
    book = _BOOK_OF.search(f"{fold(head)} : {folded[: match.start()]}")
    apart = "posth-" if match["apart"] else f"book{arabic(book[1])}-" if book and arabic(book[1]) else ""
    return f"{apart}var{number}"


def head_and_tail(body: str) -> tuple[str, str]:
    """Split a title into work and part, at the first colon that is not inside "Hob. XVI:52"; the part may be ""."""
    masked = _HOBOKEN_COLON.sub(lambda match: match.group().replace(":", "/"), body)
    place = masked.find(":")
    head, tail = (body[:place].strip(), body[place + 1 :].strip()) if place >= 0 else (body, "")
    return (head, "") if head == tail else (head, tail)


def is_multi_movement(head: str) -> bool:
    """Whether "III." after this head is a movement, not a piece of a set. "Sonatas" are a set."""
    return any(
        form in MULTI_MOVEMENT and word not in ("sonatas", "sonaten", "sonates")
        for form, word, _, _ in find_forms(fold(head))
    )


def theme_of(head: str, tail: str) -> str:
    """The word for the theme, if the part is the theme of a set of variations; else ""."""
    form = find_form(fold(head))
    match = _THEME.search(fold(tail)) if form and form[0] == "variations" else None
    return match.group() if match else ""


def prelude_or_fugue(body: str, is_clavier: bool) -> str:
    """Which half of a prelude and fugue is played; "" for both or for other music."""
    folded = fold(body)
    alone = _PAIRS.sub(" ", folded)
    if alone == folded and not is_clavier:
        return ""
    halves = {form for form, *_ in find_forms(alone)} & {"prelude", "fugue", "fantasia", "toccata"}
    return halves.pop() if len(halves) == 1 else ""


def number_in_pair(text: str) -> tuple[str, str] | None:
    """The number of a prelude and fugue in a book of them, and its words."""
    match = _PAIR_NUMBER.search(fold(text))
    return (match[1], match.group()) if match else None


def dance(folded_tail: str) -> str:
    """The dance of a suite: "minuet", or "minuet2" for one of a pair; "" if there is none."""
    for form, _, _, end in find_forms(folded_tail):
        one = re.match(r" (i{1,2}|[12])\b", folded_tail[end:])
        is_pair = one and re.search(r"\b(?:ii|2)\b", folded_tail[end + one.end() :])
        return form if not one or is_pair else f"{form}{arabic(one[1])}"
    return ""


def part_in_words(tail: str, is_multi: bool) -> str:
    """The first two words of a part without a number; a word of tempo only for a movement, if there is no other."""
    words = [word for word in re.findall(r"[^\W\d_]+", NOISE.sub(" ", fold(tail))) if len(word) > 2]
    names = [word for word in words if not word_list("not_names")[0].fullmatch(word)]
    return "-".join(names[:2] or (words[:1] if is_multi else []))
