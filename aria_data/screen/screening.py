"""Score a candidate's text by how likely it is solo piano, 1 to 5: by word lists, by a small model with them, or by a
language model.

    5  a piano, alone          "Klaviersonate", "solo piano", ピアノソロ
    4  a piano                 "piano cover of an orchestral theme", "Chopin: Nocturne"
    3  the text does not tell  "track01"
    2  hardly                  "four hands", "symphony", "official video"
    1  clearly something else  "violin sonata", "piano concerto", "synthesia tutorial"

By the rules (word lists in `screen_words.toml`) the title decides; tags, uploader and description decide where it does
not tell. The learned scorer (`learned.py`) weighs the rules and a small model that knows works: its 1 to 5 stand for
probabilities. A language model gets many candidates in a request (`screen-1.md`) or one, whose digits are joined with
the learned scorer (`screen-digit-1.md`, `digits.py`). For all, instructions to a model are removed from the text first
(`aria_data.text.prompt_injection`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from aria_data.llm import Answer, Llm, LlmConfig, Question, Task
from aria_data.llm.batch import ask_in_batches
from aria_data.llm.patience import NothingUsable
from aria_data.llm.questions import Payload, load_prompt
from aria_data.llm.replies import AnswerInvalid
from aria_data.llm.wire import NotLikeThat
from aria_data.records import Candidate, Screening, Verdict
from aria_data.screen.digits import PROMPT as DIGIT_PROMPT
from aria_data.screen.digits import Combination, Rating, digit_task, expected_digit, read_combination, unsure_first
from aria_data.screen.learned import LEARNED, judge, score_of
from aria_data.screen.title_model import title_model
from aria_data.screen.title_rules import read_title, second_opinion
from aria_data.screen.word_lists import words_in
from aria_data.storage import printable
from aria_data.text import clean, is_quoted, trim_quote, without_instructions

SCORER = "rules"
SCORERS = (LEARNED, SCORER, "llm")
MAX_EVIDENCE_CHARS = 200
MAX_REASON_CHARS = 300
MIN_PIANO_SCORE = 4  # the lowest score by the rules for which a piano is named
MIN_BY_DEFAULT = 2
PROMPT = "screen-1"
UNFITTED = (
    "The model's digits are asked for and kept, but until they are fitted (aria-data evaluate screen --scorer llm "
    "--labels LABELS.csv --fit FILE, then --set llm.combination=FILE) the scores are the learned scorer's alone."
)
Announce = Callable[[str], None]


@dataclass(frozen=True)
class ScreenConfig:
    """Which candidates go on, and how they are scored. Raises `ValueError` for an unknown scorer.

    The default rejects only addresses whose text names something else, and no file of a user's own folder: there the
    audio decides, unless `min_relevance_score` is raised. A crawl needs 4.
    """

    min_relevance_score: int = MIN_BY_DEFAULT  # 1 to 5
    max_title_chars: int = 500
    max_description_chars: int = 3000  # ours: longer ones are credits and advertising
    scorer: str = LEARNED  # or "rules", "llm"
    model: str = ""  # of the scorer "llm"; empty: ARIA_DATA_MODEL

    def __post_init__(self) -> None:
        if self.scorer not in SCORERS:
            raise ValueError(f"scorer is one of {', '.join(SCORERS)}, not {self.scorer!r}.")


def screen(candidate: Candidate, config: ScreenConfig) -> Screening:
    """Score a candidate's metadata by the rules, or by the learned scorer. Never raises, whatever the text is."""
    cleaned = _without_instructions(candidate)[0]
    return _by_learning(cleaned, config) if config.scorer == LEARNED else _by_rules(cleaned, config)


def probability_of_solo_piano(candidate: Candidate, config: ScreenConfig | None = None) -> float:
    """The learned scorer's probability, 0 to 1, that a candidate is solo piano, by its text. Never raises."""
    config = config or ScreenConfig()
    cleaned = _without_instructions(candidate)[0]
    return judge(cleaned, config.max_title_chars, config.max_description_chars).probability


def _by_learning(candidate: Candidate, config: ScreenConfig) -> Screening:
    judged = judge(candidate, config.max_title_chars, config.max_description_chars)
    return Screening(
        candidate.candidate_id,
        score_of(judged.probability),
        LEARNED,
        ", ".join(judged.evidence)[:MAX_EVIDENCE_CHARS],
        f"solo piano with probability {judged.probability:.2f}",
    )


def score_titles(titles: Iterable[str], config: ScreenConfig | None = None) -> list[Screening]:
    """Score titles in their order, without a language model: `relevance_score` 1 to 5, with the words that decided.

    `candidate_id` is the title's place in the list, counted from 0.
    """
    of_title = ((str(number), title) for number, title in enumerate(titles))
    return [screen(Candidate(place, "list", "", "", title), config or ScreenConfig()) for place, title in of_title]


def _by_rules(candidate: Candidate, config: ScreenConfig) -> Screening:
    title = read_title(candidate.title, config.max_title_chars)
    more = " | ".join(filter(None, map(str, (candidate.tags, candidate.uploader, candidate.description))))
    score, evidence = second_opinion(title.score, title.evidence, words_in(more, config.max_description_chars))
    return Screening(candidate.candidate_id, score, SCORER, ", ".join(evidence)[:MAX_EVIDENCE_CHARS])


def screen_many(
    candidates: Iterable[Candidate],
    config: ScreenConfig,
    llm: Llm | None = None,
    in_batches: bool = False,
    announce: Announce = lambda line: None,
    most_asked: int | None = None,
) -> Iterator[tuple[Candidate, Screening | Exception]]:
    """Screen with the configured scorer; each candidate comes back once, in any order.

    A candidate for which the model gave no valid answer comes back with a `TemporaryError`, never with a guess.
    `in_batches` uses the batch interface: half the price, an answer within a day. `announce` gets lines about its
    progress. With `most_asked`, a model is asked about so many, those that the learned scorer is least sure of, and all
    others are its own. Raises `ValueError` for the scorer "llm" without `llm`.
    """
    if config.scorer in (LEARNED, SCORER):
        yield from ((candidate, screen(candidate, config)) for candidate in candidates)
        return
    if llm is None:
        raise ValueError("the scorer llm needs an Llm")
    if most_asked is not None:
        candidates, sure = least_sure(candidates, config, most_asked)
        announce(
            f"{len(sure)} titles are left to the learned scorer, {len(candidates)} that it is unsure of are asked."
        )
        yield from ((candidate, screen(candidate, replace(config, scorer=LEARNED))) for candidate in sure)
    yield from _by_asking(candidates, config, llm, in_batches, announce)


def least_sure(
    candidates: Iterable[Candidate], config: ScreenConfig, most: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Give the `most` candidates that the learned scorer is least sure of, the least sure first, and all others."""
    ordered = unsure_first(list(candidates), lambda candidate: probability_of_solo_piano(candidate, config))
    return ordered[:most], ordered[most:]


def _by_asking(
    candidates: Iterable[Candidate], config: ScreenConfig, llm: Llm, in_batches: bool, announce: Announce
) -> Iterator[tuple[Candidate, Screening | Exception]]:
    """Screen by a language model: by digits where it gives their probabilities, in JSON elsewhere."""
    if llm.config.scoring == "digits" and not in_batches:
        if not llm.config.combination:
            announce(UNFITTED)
        left: list[Candidate] = []
        yield from _by_digits(candidates, config, llm, left)
        if not left:
            return
        announce(
            f"{len(left)} titles have no probabilities of the digits 1 to 5, so the answers are asked for in JSON."
        )
        candidates = left
    questions = screen_questions(candidates, config)
    task = screen_task()
    answers = ask_in_batches(llm, task, questions, announce) if in_batches else llm.ask_many(task, questions)
    for question, answer in answers:
        candidate, cleaned = question.tag
        if isinstance(answer, Exception):
            yield candidate, answer
        else:
            screening = _by_model(candidate, answer)
            yield candidate, _limited(screening, _by_rules(cleaned, config)) if question.is_alone else screening


def _by_digits(
    candidates: Iterable[Candidate], config: ScreenConfig, llm: Llm, left: list[Candidate]
) -> Iterator[tuple[Candidate, Screening | Exception]]:
    """Screen by the probabilities of the digits; `left` gets the candidates for which the server gives none."""
    combination = read_combination(Path(llm.config.combination)) if llm.config.combination else Combination()
    scorer = printable(llm.model, MAX_EVIDENCE_CHARS)
    for question, found in rate_many(candidates, config, llm):
        candidate, cleaned = question.tag
        if isinstance(found, AnswerInvalid | NotLikeThat | NothingUsable):
            left.append(candidate)
        elif isinstance(found, Exception):
            yield candidate, found
        else:
            by_rules, probability = _by_rules(cleaned, config), combination.probability(found.log_odds, found.expected)
            reason = f"The digits' mean is {found.expected:.2f} of 5; with the words, {probability:.2f} for solo piano."
            screening = Screening(
                candidate.candidate_id, score_of(probability), scorer, by_rules.evidence, reason[:MAX_REASON_CHARS]
            )
            yield candidate, _limited(screening, by_rules) if question.is_alone else screening


def rate_many(
    candidates: Iterable[Candidate], config: ScreenConfig, llm: Llm
) -> Iterator[tuple[Question, Rating | Exception]]:
    """Ask for the probabilities of the digits. A question's tag is (candidate, the candidate without instructions)."""
    for question, answer in llm.ask_many(digit_task(), screen_questions(candidates, config)):
        if isinstance(answer, Exception):
            yield question, answer
        else:
            yield question, Rating(log_odds_of(question.tag[1], config), expected_digit(answer))


def log_odds_of(candidate: Candidate, config: ScreenConfig) -> float:
    """The learned scorer's log odds of solo piano: what a language model's digits are combined with."""
    return judge(candidate, config.max_title_chars, config.max_description_chars).log_odds


def how_asked(config: LlmConfig) -> dict[str, str]:
    """What determines a language model's score besides the model: the prompt, and what digits are joined with."""
    if config.scoring != "digits":
        return {"prompt": PROMPT}
    combination = read_combination(Path(config.combination)) if config.combination else Combination()
    return {"prompt": DIGIT_PROMPT, "weights": title_model().sha256, "combination": str(combination)}


@cache
def screen_task() -> Task:
    """Give the task of the model: prompt, answer fields, and the check of an answer."""
    fields = {
        "relevance_score": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        "evidence": {"type": "string"},
        "reason": {"type": "string"},
    }
    return Task("screen", PROMPT, load_prompt(__package__, PROMPT), fields, _checked)


def screen_questions(candidates: Iterable[Candidate], config: ScreenConfig) -> Iterator[Question]:
    """Yield a question for each candidate. One whose text held instructions gets a request of its own."""
    for candidate in candidates:
        cleaned, is_flagged = _without_instructions(candidate)
        payload = {
            "title": clean(cleaned.title, config.max_title_chars),
            "description": clean(cleaned.description, config.max_description_chars),
            "uploader": clean(cleaned.uploader, config.max_title_chars),
            "tags": clean(cleaned.tags, config.max_title_chars),
        }
        yield Question((candidate, cleaned), {name: text for name, text in payload.items() if text}, is_flagged)


def _without_instructions(candidate: Candidate) -> tuple[Candidate, bool]:
    """Remove instructions to a model from a candidate's texts. Gives (the candidate, whether there were any)."""
    texts = {name: str(getattr(candidate, name) or "") for name in ("title", "description", "uploader", "tags")}
    cleared = {name: without_instructions(text) for name, text in texts.items()}
    changed: dict[str, Any] = {name: left for name, (left, taken) in cleared.items() if taken}
    return (replace(candidate, **changed), True) if changed else (candidate, False)


def _checked(payload: Payload, fields: dict[str, Any], company: Sequence[Payload]) -> dict[str, Any]:
    """Keep evidence only if it is a quote of the candidate's own text. Raises `ValueError` for a quote of another
    candidate in the request: the model has mixed them up, and is asked again."""
    quote = trim_quote(fields["evidence"], MAX_EVIDENCE_CHARS)
    if not is_quoted(quote, payload.values()):
        if quote and any(is_quoted(quote, other.values()) for other in company):
            raise ValueError("it quotes another item's text")
        quote = ""
    reason = printable(clean(fields["reason"], MAX_REASON_CHARS), MAX_REASON_CHARS)
    return {"relevance_score": fields["relevance_score"], "evidence": quote, "reason": reason}


def _by_model(candidate: Candidate, answer: Answer) -> Screening:
    fields = answer.fields
    scorer = printable(answer.model, MAX_EVIDENCE_CHARS)
    return Screening(candidate.candidate_id, fields["relevance_score"], scorer, fields["evidence"], fields["reason"])


def _limited(screening: Screening, by_rules: Screening) -> Screening:
    """Limit the model's score of a text that held instructions to the score by the rules.

    The instructions were removed before the model read the text, but some may have been missed. If the rules find a
    piano in the rest, the candidate would go on anyway, and the model's score counts. If not, the model's score counts
    only up to the rules' score. So instructions can lower a score, but never raise it.
    """
    if by_rules.relevance_score >= MIN_PIANO_SCORE or screening.relevance_score <= by_rules.relevance_score:
        return screening
    reason = f"The text speaks to the model, so it scores no higher than by the rules. {screening.reason}"
    return replace(screening, relevance_score=by_rules.relevance_score, reason=reason[:MAX_REASON_CHARS])


def verdict(screening: Screening, config: ScreenConfig, is_own_file: bool = False) -> Verdict:
    """Judge the score: `relevance_score_below_min`, or kept. Files of a user's own folder are kept by the default."""
    score = float(screening.relevance_score)
    is_heard = is_own_file and config.min_relevance_score <= MIN_BY_DEFAULT
    if score < config.min_relevance_score and not is_heard:
        return Verdict(False, "relevance_score_below_min", score)
    return Verdict(True, "", score)
