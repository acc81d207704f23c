"""The authority list of composers (`composers.csv`), and how a composer is recognised in a title.

Columns of the list: `surname` is the name by which a composer is known alone. It is empty for those who never are, such
as the younger Bachs; a `?` marks one that is also a word or a common name, so that the text must give more evidence.
`catalogues` and `aliases` are separated by `;`, and an alias may have a `?` as well.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import pairwise

from aria_data.text import clean, fold

MAX_CHARS = 1000  # of a text that are searched; the rest is ignored

# Words around a name that tell the person's role. All are matched on folded text.
_ARRANGER_BEFORE = re.compile(
    r"\b(?:arr|arranged|arrangement|arrg|arrangiert|arreglo|arreglado|arrangiamento|trans|transcr|transcribed|"
    r"transcription|transkription|transcricao|trascrizione|bearb|bearbeitet|bearbeitung|orch|orchestrated|adapted|"
    r"realized|edited|ed|rev|обр|обработка|переложение|транскрипция|編曲)[\s.:]{0,3}"
    r"(?:for (?:solo )?piano )?(?:by|von|de|par|di|per|da|door)?\s?$"
)
_ARRANGER_AFTER = re.compile(r"[\s']{0,2}s?\s?(?:transcri|transkri|trascri|arr\b|arrang|bearbeitung|edition\b|ed\.)")
_TRIBUTE_BEFORE = re.compile(
    r"(?:\b(?:hom+age|omaggio|homenaje|tribute|hulde) (?:a|to|an|aan|de)|\btombeau d[e'u]|\b(?:style|manner|spirit) of|"
    r"\bstil(?:e|o)? (?:von|di|de|van)|\bestilo de|\bmaniere d[e']|\binspired by|\bin memor(?:y of|iam)|"
    r"\bmemoire d[e']|"
    r"\ba la|\balla|\blike|\bdedicated to|\bpamyati|памяти|в стиле|посвящение|\bafter|\bnach|\bd'apres|"
    r"\b(?:themes?|thema|themas|tema|waltz|walzer|valse|motif|motive|aria|air|melody) (?:of|by|from|von|de|di|van)|"
    r"\balla .{1,60} di|на тему|\bvs\.?|\bname|\bnom d[e']|\bnamen)\s?"
    r"(?:an? |the |[a-z]\. ?(?:[a-z]\. ?)?|franz |anton |niccolo )?$"
)
_PERFORMER_BEFORE = re.compile(
    r"\b(?:played|performed|interpreted|recorded|gespielt|interprete|interpretado|eseguito|tocado|uitgevoerd) "
    r"(?:by|von|par|por|da|door)\s?$|\b(?:pianist|piano|performer|исполняет|исполнитель)[:\s]{1,2}$"
)
_PERFORMER_AFTER = re.compile(
    r"\s?(?:himself |herself )?\b(?:plays|playing|performs|spielt|joue|interprets|interprete|interpreta|toca|suona|"
    r"speelt|играет|исполняет|gra)\b"
)
_INSTITUTION_AFTER = re.compile(
    r"'?s? (?:piano|music) studio|"
    r"'?s?[ -](?:(?:international|intl|piano|music|national|young) ){0,3}(?:competition|wettbewerb|concours|concorso|"
    r"concurso|konkurs|institut|academy|akademi|conservator|konservator|hall\b|saal|society|festival|prize|collegium|"
    r"choir|orchest|ensemble|universit|hochschule|museum|foundation|конкурс|airport|flughafen|lotnisk|aeroport|haus\b|"
    r"house\b|birthplace|geburtshaus|monument|denkmal|statue|park\b|street|strasse|square|platz\b|theatre|theater|"
    r"school of music|music school|prize|preis|prix|award|medal|centre\b|center\b|club\b|trail|room\b|salon\b|"
    r"аэропорт|музей|зал\b|консерватори|филармони)"
)
_WORK_SIGN = re.compile(
    r"\b(?:op|opus|no|nr|bwv|hob|kv|sonat|prelud|etud|nocturn|noktiurn|waltz|valse|fug|suite|variation|rondo|mazurka|"
    r"scherzo|impromptu|ballad|concerto|fantas|minuet|study|studies|rag\b|major|minor|dur|moll|[a-g] (?:flat|sharp))"
    r"|סונטה|נוקטורן|פרלוד|פוגה|ואלס|אופ\b|سوناتا|نوكتورن|بريلود|فوجا|فالس|مصنف"
    r"|сонат|прелюд|этюд|ноктюрн|вальс|соч|ソナタ|前奏曲|練習曲|夜想曲|奏鸣曲|소나타"
)
_BREAK = re.compile(r"\s[-|/~]\s|[:;|()\[\]\"]")
_WORD = re.compile(r"[^\W_]+")
_NOT_BETWEEN = re.compile(r"[:;/|()\[\]\"+&0-9]|\s-\s|.{4}")
_EAST_ASIAN = re.compile(r"[぀-ヿ㐀-鿿가-힣]")

# Composers who are mainly known as players: another composer in the same text is preferred.
_MOSTLY_PLAYERS = frozenset({"cziffra", "gulda", "hamelin", "say", "volodos", "wild", "peterson", "jarrett", "tatum"})
_NO_FIRST_NAMES = frozenset(
    {"art", "blind", "bud", "count", "duke", "fats", "jelly", "maria", "may", "say", "will", "willie"}
)
_CYRILLIC_ENDINGS = (("ский", ("ского", "скому", "ским")), ("й", ("я", "ю", "ем")), ("", ("а", "у", "ом", "ым", "е")))


@dataclass(frozen=True, slots=True)
class Composer:
    """One entry of the authority list."""

    composer_id: str
    name: str
    surname: str
    birth: int | None
    death: int | None
    period: str
    genre: str
    catalogues: tuple[str, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComposerMatch:
    """A composer in a text. `start` and `end` count characters of `text.clean(...)` of it."""

    composer_id: str
    name: str
    start: int
    end: int
    text: str
    matched_by: str  # "full name", "surname, initials", "surname" or "alias"
    role: str = "composer"  # or "arranger", "tribute", "performer", "institution"


@dataclass(frozen=True, slots=True)
class _Spelling:
    words: tuple[str, ...]
    composer_id: str
    matched_by: str
    is_weak: bool = False
    ends_in_initial: bool = False


_ByFirstWords = dict[str, dict[str, tuple[_Spelling, ...]]]


@cache
def composers() -> dict[str, Composer]:
    """The authority list by `composer_id`."""
    text = resources.files("aria_data.repertoire").joinpath("composers.csv").read_text(encoding="utf-8")
    return {row["composer_id"]: _to_composer(row) for row in csv.DictReader(text.splitlines())}


def _to_composer(row: dict[str, str]) -> Composer:
    return Composer(
        row["composer_id"],
        row["name"],
        row["surname"],
        int(row["birth"]) if row["birth"] else None,
        int(row["death"]) if row["death"] else None,
        row["period"],
        row["genre"],
        tuple(filter(None, row["catalogues"].split(";"))),
        tuple(filter(None, row["aliases"].split(";"))),
    )


def find_composer(text: str, is_name: bool = False) -> ComposerMatch | None:
    """Find the composer that a text names, or None. `is_name`: the text is known to be a composer's name, as in a tag.

    A name after "arr.", "hommage à", "on a theme by" or "played by" is not the composer's; neither is a
    surname after another first name. Of several composers, one before a colon is chosen, then the first.
    """
    return main_composer(find_composers(text, is_name), text)


def main_composer(people: list[ComposerMatch], text: str) -> ComposerMatch | None:
    """The composer among the people whom `find_composers` found in a text, or None."""
    matches = [match for match in people if match.role == "composer"]
    if not matches:
        return None
    cleaned = clean(text, MAX_CHARS)
    return min(matches, key=lambda m: (m.composer_id in _MOSTLY_PLAYERS, not _is_before_colon(cleaned, m), m.start))


def _is_before_colon(cleaned: str, match: ComposerMatch) -> bool:
    return cleaned[match.end : match.end + 2].lstrip().startswith(":")


def find_composers(text: str, is_name: bool = False) -> list[ComposerMatch]:
    """Find every composer that a text names, in order, each with the role that the words around the name give."""
    cleaned = clean(text, MAX_CHARS)
    folded = fold(cleaned)
    matches = [*_latin_matches(cleaned, folded, is_name), *_east_asian_matches(cleaned, folded, is_name)]
    matches.sort(key=lambda match: match.start)
    return matches[:1] + [_second_of_pair(*pair, cleaned) for pair in pairwise(matches)]


def _second_of_pair(first: ComposerMatch, second: ComposerMatch, cleaned: str) -> ComposerMatch:
    """Bach-Busoni, Schubert/Liszt: the second one arranged."""
    is_pair = (
        cleaned[first.end : second.start].strip(" .") in ("-", "/", "–")
        and " - " not in cleaned[first.end : second.start]
    )
    return replace(second, role="arranger") if is_pair and second.role == "composer" else second


def _latin_matches(cleaned: str, folded: str, is_name: bool) -> Iterator[ComposerMatch]:
    words = [(word.group(), word.start(), word.end()) for word in _WORD.finditer(folded)]
    spellings = _spellings()
    position = 0
    while position < len(words):
        for spelling in _beginning(spellings, words, position):
            last = position + len(spelling.words) - 1
            if _fits(spelling, words, position, folded) and _is_believed(spelling, words, position, folded, is_name):
                start, end = words[position][1], words[last][2]
                yield _to_match(spelling, start, end, cleaned, folded)
                position = last
                break
        position += 1


def _beginning(spellings: _ByFirstWords, words: list[tuple[str, int, int]], position: int) -> tuple[_Spelling, ...]:
    """The spellings whose first two words, or only word, stand at a position; the longest first."""
    of_one = spellings.get(words[position][0])
    if of_one is None:
        return ()
    following = words[position + 1][0] if position + 1 < len(words) else ""
    return (*of_one.get(following, ()), *of_one.get("", ()))


def _to_match(spelling: _Spelling, start: int, end: int, cleaned: str, folded: str) -> ComposerMatch:
    composer = composers()[spelling.composer_id]
    role = _role(folded, start, end)
    return ComposerMatch(composer.composer_id, composer.name, start, end, cleaned[start:end], spelling.matched_by, role)


def _fits(spelling: _Spelling, words: list[tuple[str, int, int]], position: int, folded: str) -> bool:
    found = words[position : position + len(spelling.words)]
    if tuple(word for word, _, _ in found) != spelling.words:
        return False
    gaps = (folded[left[2] : right[1]] for left, right in zip(found, found[1:], strict=False))
    if any(_NOT_BETWEEN.search(gap) for gap in gaps):
        return False
    # "Bach, C minor" is not C. Bach: a single initial after the surname needs a dot or the like
    return not spelling.ends_in_initial or folded[found[-1][2] : found[-1][2] + 1] in (".", ":", ")")


def _is_believed(spelling: _Spelling, words: list, position: int, folded: str, is_name: bool) -> bool:
    if spelling.matched_by not in ("surname", "alias") or len(spelling.words) > 1:
        return True
    _, start, end = words[position]
    if position:
        before, _, before_end = words[position - 1]
        gap = folded[before_end:start]
        is_initial = len(before) == 1 and gap.startswith(".") and not before.isdigit()
        own = set(_words(composers()[spelling.composer_id].name))
        if is_initial and len(gap) <= 2 and before not in {word[0] for word in own}:
            return False
        if gap == " " and before in _first_names() and before not in own:
            return False
    return is_name or not spelling.is_weak or _has_evidence(folded, start, end)


def _has_evidence(folded: str, start: int, end: int) -> bool:
    """Whether a doubtful surname stands alone between breaks, or as "Name's", in a text that names a work."""
    if not _WORK_SIGN.search(folded):
        return False
    breaks = [0, *(edge for found in _BREAK.finditer(folded) for edge in found.span()), len(folded)]
    left = max(edge for edge in breaks if edge <= start)
    right = min(edge for edge in breaks if edge >= end)
    return not folded[left:start].strip(" ,.") and (
        not folded[end:right].strip(" ,.") or folded[end : end + 2] in ("'s", ", ")
    )


def _role(folded: str, start: int, end: int) -> str:
    before, after = folded[max(0, start - 90) : start], folded[end : end + 60]
    if _INSTITUTION_AFTER.match(after):
        return "institution"
    if _ARRANGER_BEFORE.search(before) or _ARRANGER_AFTER.match(after):
        return "arranger"
    if _TRIBUTE_BEFORE.search(before):
        return "tribute"
    if _PERFORMER_BEFORE.search(before) or _PERFORMER_AFTER.match(after):
        return "performer"
    return "composer"


def _east_asian_matches(cleaned: str, folded: str, is_name: bool) -> Iterator[ComposerMatch]:
    if not _EAST_ASIAN.search(folded):
        return
    pattern, spellings = _east_asian_spellings()
    for found in pattern.finditer(folded):
        spelling = spellings[found.group()]
        if is_name or not spelling.is_weak or _WORK_SIGN.search(folded):
            yield _to_match(spelling, found.start(), found.end(), cleaned, folded)


@cache
def _east_asian_spellings() -> tuple[re.Pattern[str], dict[str, _Spelling]]:
    """Names in scripts without spaces: katakana not inside a longer katakana word, hangul not after hangul."""
    spellings = {}
    for composer in composers().values():
        for alias in composer.aliases:
            if _EAST_ASIAN.search(alias):
                name = fold(clean(alias.rstrip("?"), MAX_CHARS))
                spellings[name] = _Spelling((name,), composer.composer_id, "alias", alias.endswith("?"))
    longest_first = sorted(spellings, key=lambda name: (-len(name), name))
    names = "|".join(
        rf"(?<![ァ-ヺー]){re.escape(name)}(?![ァ-ヺー])" if re.match("[ァ-ヺ]", name)
        else rf"(?<![가-힣]){re.escape(name)}" if re.match("[가-힣]", name)
        else re.escape(name)
        for name in longest_first
    )  # fmt: skip
    return re.compile(names), spellings


@cache
def _spellings() -> _ByFirstWords:
    """Spellings by their first word and their second one, "" for single words. The list's order breaks ties."""
    found: dict[str, dict[tuple[str, ...], _Spelling]] = defaultdict(dict)
    for composer in composers().values():
        for spelling in _spellings_of(composer):
            found[spelling.words[0]].setdefault(spelling.words, spelling)
    return {first: _by_second_word(spellings.values()) for first, spellings in found.items()}


def _by_second_word(spellings: Iterable[_Spelling]) -> dict[str, tuple[_Spelling, ...]]:
    """Spellings by their second word, the longest first."""
    found: dict[str, list[_Spelling]] = defaultdict(list)
    for spelling in sorted(spellings, key=lambda spelling: -len(spelling.words)):
        found["".join(spelling.words[1:2])].append(spelling)
    return {second: tuple(of_two) for second, of_two in found.items()}


def _spellings_of(composer: Composer) -> Iterator[_Spelling]:
    def spelling(words: tuple[str, ...], matched_by: str, is_weak: bool = False, is_initial: bool = False) -> _Spelling:
        return _Spelling(words, composer.composer_id, matched_by, is_weak, is_initial)

    name = _words(composer.name)
    surname = _words(composer.surname.rstrip("?"))
    is_weak = composer.surname.endswith("?")
    yield spelling(name, "surname" if name == surname else "full name", is_weak)
    if surname:
        yield spelling(surname, "surname", is_weak)
        if len(surname) == 1 and len(surname[0]) > 4 and not is_weak:
            yield spelling((surname[0] + "s",), "surname")  # "Chopins Etüden"
    family = surname or name[-1:]
    given = name[: len(name) - len(family)]
    if given and name[-len(family) :] == family:
        yield spelling(family + given, "full name")
        yield spelling(family + given[:1], "full name")
        initials = tuple(word[0] for word in given)
        for some in {initials, initials[:1]}:
            if surname or len(some) > 1:  # "C.P.E. Bach", but not "C. Bach"
                yield spelling(some + family, "surname, initials")
                yield spelling(family + some, "surname, initials", is_initial=len(some) == 1)
    for alias in composer.aliases:
        if not _EAST_ASIAN.search(alias):
            words = _words(alias.rstrip("?"))
            yield spelling(words, "alias", alias.endswith("?"))
            yield from (spelling(words[:-1] + (form,), "alias", alias.endswith("?")) for form in _declined(words[-1]))


def _words(name: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(fold(clean(name, MAX_CHARS))))


def _declined(word: str) -> Iterator[str]:
    """A Russian or Ukrainian surname in its other cases: Шопен, Шопена, Шопену, Шопеном."""
    if not re.match("[а-яії]{3}", word):
        return
    ending, forms = next((ending, forms) for ending, forms in _CYRILLIC_ENDINGS if word.endswith(fold(ending)))
    yield from (word[: len(word) - len(ending)] + form for form in forms)


@cache
def _first_names() -> frozenset[str]:
    """First names. One before a surname, if it is not the composer's own, means another person of that surname."""
    others = resources.files("aria_data.repertoire").joinpath("first_names.txt").read_text(encoding="utf-8").split()
    listed = {_words(composer.name)[0] for composer in composers().values()}
    return frozenset(listed | {*others}) - _NO_FIRST_NAMES
