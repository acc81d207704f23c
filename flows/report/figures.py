"""What the report shows: figures in sections, each with the query that gives it. Nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.manifest.columns import is_subset

BARS, HISTOGRAM, TABLE, FUNNEL = "bars", "histogram", "table", "funnel"
DISTRIBUTIONS = "Distributions"  # the section that gets the notes of a sample, too
CHANGES = "What changed since the version before"  # the section that gets what `diff` and `versions` tell, too
NUM_BINS = 30  # of a histogram
MAX_BARS = 25  # names listed; the report says how many more there are
STAGES = ("collect", "screen", "download", "ingest", "classify", "segment", "transcribe", "measure", "annotate")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `sql` gives: for bars a name, files and hours; for a histogram the values; else any columns."""

    title: str
    kind: str
    sql: str
    note: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    figures: tuple[Figure, ...]
    note: str = ""


def sections(column_names: list[str], names_before: list[str] | None = None) -> list[Section]:
    """The sections of a report on a version with these columns; `names_before`: those of the version before it."""
    changes = (_sizes(column_names, names_before), _MOVED) if names_before is not None else ()
    return [
        Section("From candidates to MIDI files", (FUNNEL_FIGURE, _REASONS, _hours(column_names))),
        Section("What is in it", tuple(_grouped(title, column) for title, column in GROUPS.items())),
        Section(DISTRIBUTIONS, tuple(_values(*each) for each in MEASURES), _ESTIMATES),
        Section("Splits and subsets", (_grouped("splits", "split"), _subsets(column_names), _LEAKS), _LEAKS_NOTE),
        Section("Copies", (_CLUSTERS, _LARGEST), _COPIES_NOTE),
        *([Section(CHANGES, changes)] if changes else []),
        Section("Speed and cost", (_SPEED, _COST, _BY_BUILD, _BUILDS), _SPEED_NOTE),
        Section("Where it comes from", (_FOUND, _grouped("sources", "source"), _grouped("licences", "licence"))),
    ]


GROUPS = {
    "composers": "composer",
    "forms": "form",
    "periods": "period",
    "genres": "genre",
    "keys": "key",
    "performers": "performer",
}
MEASURES = (  # title, column or SQL, unit, note
    ("duration", "duration_s", "s", ""),
    ("notes a second", "note_density", "notes/s", ""),
    ("pitch entropy", "pitch_entropy", "bits", "Near 0: few pitches over and over."),
    ("pedal presses a minute", "num_pedal_events * 60 / nullif(duration_s, 0)", "a minute", ""),
    ("longest silence", "longest_silence_s", "s", ""),
    ("audio score", "audio_score", "", "The classifier's mean probability of solo piano."),
    ("transcription confidence", "transcription_confidence", "", "The transcriber's own estimate."),
    ("onset agreement", "onset_agreement", "", "Share of the recording's onsets that have a note."),
    ("chroma agreement", "chroma_agreement", "", "Share of notes whose pitch class sounds in the recording."),
    ("likeness to a score", "score_likeness", "", "How often notes fall on a regular grid."),
    ("annotation confidence", "annotation_confidence", "", "How sure the reading of the title is."),
)
TOTALS = (
    "SELECT count(*) AS MIDI_files, round(coalesce(sum(duration_s), 0) / 3600, 2) AS hours, "
    "coalesce(sum(num_notes), 0)::BIGINT AS notes, count(DISTINCT recording_id) AS recordings, "
    "count(DISTINCT nullif(composition_id, '')) AS known_compositions FROM present"
)
_ESTIMATES = "Estimates by machine. Sort and look at both ends before you trust a limit."
_LEAKS_NOTE = "A work, a recording and its copies must share a split: the last column of the check is 0 everywhere."
_COPIES_NOTE = "Rows of one cluster are the same recording, found by bytes, by sound and by notes."

_HOURS = "round(coalesce(sum(duration_s), 0) / 3600, 3)"


def _grouped(title: str, column: str) -> Figure:
    sql = (
        f"SELECT coalesce({column}, '') AS name, count(*) AS files, {_HOURS} AS hours FROM present "
        "GROUP BY name ORDER BY files DESC, name"
    )
    return Figure(title, BARS, sql)


def _values(title: str, value: str, unit: str, note: str) -> Figure:
    return Figure(title, HISTOGRAM, f"SELECT {value} AS value FROM present WHERE isfinite({value})", note, unit)


# A candidate ends where it was rejected or failed last; one whose recording has a row in the manifest went through.
FUNNEL_FIGURE = Figure(
    "candidates, stage by stage",
    FUNNEL,
    """WITH kept AS (
    SELECT DISTINCT recordings.candidate_id FROM recordings JOIN present USING (recording_id)
    WHERE recordings.candidate_id NOT IN (SELECT candidate_id FROM rejections WHERE reason = 'same_bytes')),
ended AS (
    SELECT candidate_id, any_value(stage) AS stage, bool_or(is_failure) AS is_failure FROM rejections
    WHERE candidate_id NOT IN (SELECT candidate_id FROM kept) GROUP BY candidate_id)
SELECT 'found' AS step, count(*) AS candidates, 0 AS rejected, 0 AS failed FROM candidates
UNION ALL SELECT 'in the manifest', count(*), 0, 0 FROM kept
UNION ALL
SELECT stage, NULL, count(*) FILTER (NOT is_failure), count(*) FILTER (is_failure) FROM ended GROUP BY stage""",
    "Of all candidates that were found, how many are left after each stage.",
)
_REASONS = Figure(
    "why the others are not in it",
    TABLE,
    """SELECT stage, reason, CASE WHEN is_failure THEN 'failed' ELSE 'rejected' END AS outcome, count(*) AS items,
    round(median(measured), 4) AS median_measured
FROM rejections GROUP BY stage, reason, is_failure ORDER BY items DESC, stage, reason""",
    "The command rejections lists them; explain gives all decisions about one.",
)
_LEAKS = Figure(
    "leak check",
    TABLE,
    "SELECT tie, count(*) AS groups, count(*) FILTER (num_splits > 1) AS in_several_splits FROM ("
    + " UNION ALL ".join(
        f"SELECT '{tie}' AS tie, {tie} AS name, count(DISTINCT split) AS num_splits FROM present "
        f"WHERE {tie} <> '' AND split IN ('train', 'validation', 'test') GROUP BY {tie}"
        for tie in ("recording_id", "composition_id", "audio_cluster", "recording_cluster", "notes_cluster")
    )
    + ") GROUP BY tie ORDER BY tie",
)
_CLUSTERS = Figure(
    "clusters by size",
    TABLE,
    """SELECT rows_in_cluster, count(*) AS clusters FROM (
    SELECT count(*) AS rows_in_cluster FROM present WHERE notes_cluster <> '' GROUP BY notes_cluster)
GROUP BY rows_in_cluster ORDER BY rows_in_cluster""",
)
_LARGEST = Figure(
    "largest clusters",
    TABLE,
    """SELECT notes_cluster, count(*) AS files, count(DISTINCT recording_id) AS recordings, any_value(title) AS a_title
FROM present WHERE notes_cluster <> '' GROUP BY notes_cluster HAVING count(*) > 1
ORDER BY files DESC, notes_cluster LIMIT 15""",
)
_FOUND = Figure(
    "how candidates were found",
    TABLE,
    """SELECT source, discovered_via, count(*) AS candidates FROM candidates
GROUP BY source, discovered_via ORDER BY candidates DESC, discovered_via LIMIT 25""",
    "The command tree draws a crawl.",
)


_SPEED = Figure(
    "speed of each stage, in the last build that worked on audio",
    TABLE,
    """SELECT stage, num_items AS items, round(audio_s / 3600, 3) AS hours_of_audio, round(working_s, 1) AS working_s,
    round(100 * working_s / sum(working_s) OVER (), 1) AS percent_of_all_work, round(x_real_time, 1) AS x_real_time,
    num_workers AS workers, num_failed AS failed
FROM build_stages WHERE num_items > 0 AND run_id = (
    SELECT run_id FROM build_stages WHERE audio_s > 0 GROUP BY run_id ORDER BY max(began_at) DESC, run_id LIMIT 1)""",
    "x real time: seconds of audio a second, of all workers together while they work.",
)
_COST = Figure(
    "what it took, all noted builds together",
    TABLE,
    """WITH took AS (SELECT sum(wall_s) / 3600 AS machine, sum(dollars) AS dollars, count(*) AS builds FROM builds),
kept AS (SELECT sum(duration_s) / 3600 AS piano, count(*) AS files FROM present)
SELECT builds, round(machine, 2) AS hours_of_the_machine, round(piano, 2) AS hours_of_piano_now,
    round(machine / nullif(piano, 0), 2) AS machine_hours_an_hour_of_piano, round(dollars, 4) AS dollars_for_models,
    round(1000 * dollars / nullif(files, 0), 4) AS dollars_a_thousand_files FROM took, kept""",
    "The last 20 builds that did anything are noted: of an older dataset this is not all.",
)
_BY_BUILD = Figure(
    "speed of transcription, build by build",
    TABLE,
    """SELECT left(began_at, 16) AS began_at, round(audio_s / 3600, 3) AS hours_of_audio,
    round(x_real_time, 1) AS x_real_time, transcriber, processor, gpus
FROM build_stages JOIN builds USING (run_id, began_at) WHERE stage = 'transcribe' AND audio_s > 0
ORDER BY began_at DESC LIMIT 20""",
    "A change of the machine, the transcriber or the code is seen here.",
)
_BUILDS = Figure(
    "the last builds",
    TABLE,
    """SELECT left(began_at, 16) AS began_at, command, state, round(wall_s, 1) AS seconds,
    round(dollars, 4) AS dollars_for_models, processor, cores, gpus, code_version
FROM builds ORDER BY began_at DESC LIMIT 20""",
)
_SPEED_NOTE = "Measured by the builds themselves, and kept in perf.json of the dataset folder."


def _hours(column_names: list[str]) -> Figure:
    parts = [
        f"SELECT 1 AS place, 'decoded' AS what, count(*) AS files, {_HOURS} AS hours FROM recordings",
        f"SELECT 2, 'solo piano, in the manifest', count(*), {_HOURS} FROM present",
        *(
            f"SELECT {place}, '{name}', count(*), {_HOURS} FROM present WHERE {name}"
            for place, name in enumerate(_subset_names(column_names), 3)
        ),
    ]
    sql = "SELECT what, files, hours FROM (" + " UNION ALL ".join(parts) + ") ORDER BY place"
    return Figure("hours, stage by stage", BARS, sql, "Of recordings, then of segments.")


def _subsets(column_names: list[str]) -> Figure:
    parts = (
        f"SELECT '{name}' AS subset, split, count(*) AS files, {_HOURS} AS hours FROM present "
        f"WHERE {name} GROUP BY split"
        for name in _subset_names(column_names)
    )
    return Figure("subsets by split", TABLE, " UNION ALL ".join(parts) + " ORDER BY subset, split")


def _sizes(column_names: list[str], names_before: list[str]) -> Figure:
    """How much there was and is, and how much of it in each subset; of a subset that is new, nothing was."""
    counted = {
        "MIDI files": "count(*)",
        "hours": "coalesce(sum(duration_s), 0) / 3600",
        "notes": "coalesce(sum(num_notes), 0)",
        "recordings": "count(DISTINCT recording_id)",
        "known compositions": "count(DISTINCT nullif(composition_id, ''))",
        **{name: f"count(*) FILTER ({name})" for name in _subset_names(column_names)},
        **{f"split {name}": f"count(*) FILTER (split = '{name}')" for name in ("train", "validation", "test")},
    }
    parts = []
    for place, (what, sql) in enumerate(counted.items()):
        was = "0" if what in column_names and what not in names_before else f"(SELECT {sql} FROM before)"
        parts.append(f"SELECT {place} AS place, '{what}' AS what, {was} AS was, (SELECT {sql} FROM present) AS now")
    numbers = "round(was, 3) AS was, round(now, 3) AS now"
    return Figure("how much", TABLE, f"SELECT what, {numbers} FROM ({' UNION ALL '.join(parts)}) ORDER BY place")


_MOVED = Figure(
    "rows that moved to another split",
    TABLE,
    """SELECT before.split AS was_in, present.split AS is_in, count(*) AS files
FROM present JOIN before USING (segment_id) WHERE present.split <> before.split
GROUP BY was_in, is_in ORDER BY files DESC, was_in, is_in""",
)


def _subset_names(column_names: list[str]) -> list[str]:
    return ["in_pruned", "in_deduplicated", "in_unique", *filter(is_subset, column_names)]
