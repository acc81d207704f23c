"""The records that stages hand on: frozen and flat, with units in the names of their fields.

They have no behaviour beyond properties derived from the fields. The stage tables take their columns from here.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be a recording of solo piano, known by its metadata only."""

    candidate_id: str  # `<source>-<its id there>`, or 16 hex of a hash: for a local file, of its absolute path
    source: str  # "local", or the name of a site: "youtube", "archiveorg", "web"
    location: str  # where the audio is: a file:// or http(s):// address
    source_url: str  # the place the manifest may show: the path below the source folder, or a public URL
    title: str
    description: str = ""
    uploader: str = ""
    licence: str = ""
    tags: str = ""  # other metadata as found, as a JSON object
    announced_duration_s: float | None = None
    num_bytes: int = 0
    modified_ns: int = 0  # with num_bytes and the inode's: whether a local file is still the same
    discovered_via: str = ""  # the lead it was found by: "folder", "search: chopin nocturne", "links: https://..."
    collected_at: str = ""  # UTC, ISO 8601
    uploader_url: str = ""  # the page of whoever published it, where there is one
    inode: int = 0  # of a local file; 0: not known
    changed_ns: int = 0  # when its inode changed last
    content_sha256: str = ""  # of a local file that was replaced by another of the same size and time
    observation: int = 0  # counts up: of several observations of one candidate the highest counts, whatever the clock


@dataclass(frozen=True, slots=True)
class Screening:
    """The judgement of a candidate by its metadata alone."""

    candidate_id: str
    relevance_score: int  # 1 (surely not solo piano) to 5 (surely solo piano); 3 = the text does not tell
    scorer: str  # "rules" or a model's name
    evidence: str  # the words of the text that decided
    reason: str = ""  # a model's sentence; the rules have only their evidence


@dataclass(frozen=True, slots=True)
class Download:
    """Audio that was fetched, decoded to its end and found whole, with its source and licence."""

    candidate_id: str
    audio_path: str  # below the dataset folder
    num_bytes: int
    audio_sha256: str
    samples_sha256: str
    duration_s: float
    sample_rate: int
    num_channels: int
    codec: str
    loudness_db: float
    peak_db: float
    num_faults: int  # packets that did not decode
    licence: str  # as the site states it, "" where it does not
    licence_code: str  # one of `web.licences.LICENCES`
    fetched_from: str  # the address of the audio, without secrets
    fetched_at: str  # UTC, ISO 8601


@dataclass(frozen=True, slots=True)
class Review:
    """What a person said of a segment, and of which span of which recording it is said."""

    number: int  # 1, 2, 3, ... in the order in which they were given
    segment_id: str
    recording_id: str
    start_s: float
    end_s: float
    verdict: str  # good, bad or unsure
    faults: str  # what is wrong, with "; " between
    note: str
    reviewer: str
    reviewed_at: str  # UTC, ISO 8601
    midi_sha256: str  # of the notes that were heard


@dataclass(frozen=True, slots=True)
class Attempt:
    """The end of one try to fetch a candidate."""

    candidate_id: str
    host: str
    began_at: str  # UTC, ISO 8601
    seconds: float
    num_bytes: int
    kind: str  # "" = fetched, else one of `web.failures.KINDS`
    detail: str  # one line for a person


@dataclass(frozen=True, slots=True)
class Recording:
    """Audio that is available and decodes to its end."""

    recording_id: str
    candidate_id: str
    location: str  # of its audio: a file:// address, or a path below the dataset folder
    audio_sha256: str  # of the file's bytes
    samples_sha256: str  # of the decoded samples: equal for the same audio in another container
    duration_s: float
    sample_rate: int
    num_channels: int
    codec: str
    loudness_db: float  # root mean square over the whole file, dB below full scale
    peak_db: float


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A recording's most marked onsets, by which copies of it are found (`deduplicate.fingerprints`)."""

    recording_id: str
    onsets: str  # base64 of `deduplicate.fingerprints.to_bytes`


@dataclass(frozen=True, slots=True)
class WindowScores:
    """The classifier's scores for each window of a recording, and for each short step by itself.

    Both are arrays of floats (type code "d"): of a million recordings, lists would fill the memory.
    """

    recording_id: str
    hop_s: float
    scores: array  # scores[i]: probability of clean solo piano around i * hop_s to (i + 1) * hop_s
    step_s: float
    local_scores: array  # local_scores[i]: the same from i * step_s to (i + 1) * step_s alone
    classifier_sha256: str
    local_any_piano: array | None = None  # of the same steps: a piano sounds, alone or not; None: not recorded
    levels_db: array | None = None  # of the same steps: the loudest frame, dB
    changes: array | None = None  # of the same steps: how much what sounds changes where they begin, 0 to 1


@dataclass(frozen=True, slots=True)
class Segment:
    """A contiguous span of solo piano inside one recording."""

    recording_id: str
    number: int  # of this music in its recording, whatever found it (`segment.identity`)
    start_s: float
    end_s: float
    audio_score: float  # mean probability of clean solo piano, 0 to 1; of its longest sure stretch where that is higher

    @property
    def segment_id(self) -> str:
        return f"{self.recording_id}_{self.number}"


@dataclass(frozen=True, slots=True)
class Segmentation:
    """All segments of one recording, in order."""

    recording_id: str
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Transcription:
    """The MIDI file of one segment."""

    segment_id: str
    recording_id: str
    midi_path: str  # below the dataset folder
    midi_sha256: str
    transcriber: str
    transcriber_sha256: str
    num_notes: int
    num_pedal_events: int
    confidence: float  # 0 to 1, from the transcriber; its meaning is the backend's (`transcribe.TranscriptionResult`)
    num_endless_notes: int  # notes that were shortened (`transcribe.midi_output`)
    precision: str = ""  # float32, bfloat16 or int8: in which numbers it was computed; "" before this was recorded
    heads_sha256: str = ""  # of what this project adds to the transcriber; "": the published model alone
    published_velocities: str = ""  # where those of the file are calibrated: by pitch, then onset; two hex digits each


@dataclass(frozen=True, slots=True)
class Measurement:
    """All measures of one transcription (`measure.MEASURES`), by name."""

    segment_id: str
    measures: dict[str, float]
    agreement_per_5_s: str | None = None  # with a second transcriber (`measure.agreement`), as a JSON array
    disagreements: str | None = None  # onsets that only one of them has, as a JSON object; null: not recorded


@dataclass(frozen=True, slots=True)
class SegmentAlignment:
    """A segment along a score, or why it has none (`align.alignment`). Numbers of one without a score are null."""

    segment_id: str
    midi_sha256: str  # of the notes that were aligned
    reason: str  # "": aligned; else why not
    measured: float | None  # the number that decided against it
    score_id: str  # the score's path below the folder of scores; of one not aligned the best that was tried
    score_sha256: str
    score_match: float | None  # notes matched, of those played and those written: 2 m / (p + w)
    alignment_confidence: float | None  # share of beats whose surroundings were matched
    num_bars: int | None  # downbeats heard; what is repeated counts again
    first_bar: int | None  # the lowest number of a bar heard, as the score counts
    last_bar: int | None
    is_complete_piece: bool | None
    tempo_bpm_median: float | None
    num_beats: int | None
    num_jumps: int | None  # to a repeat, over a cut
    composition_agrees: bool | None  # the notes agree with the tags; null where nothing can be compared
    proposed_composition: str  # where tags are missing or contradicted
    evidence: str  # one line for a person
    beats_path: str  # below the dataset folder: ASAP's layout; "" where there is none
    details_path: str  # Parquet: every beat and note with its place in the score
    judged_composition: str | None = None  # the tag that the notes were compared with, "" for none; null: not recorded
    agreement_per_bar: str | None = None  # of two transcribers (`measure.agreement`), as a JSON array
    lowest_agreement_bar: int | None = None  # the bar of the lowest of these, as the score counts
    judged_disagreements: str | None = None  # a hash of what they were computed from


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is played and by whom, as read from the text. A field without evidence in the text is empty."""

    composer: str = ""  # the authority list's spelling, else as written
    composer_id: str = ""  # of the authority list; empty when not in it
    performer: str = ""  # as written
    title: str = ""
    catalogue: str = ""  # "op", "bwv", "k", "d", "hob", ...
    catalogue_number: str = ""
    piece_number: str = ""  # the number inside the opus: op. 10 *no. 4*
    movement: str = ""
    form: str = ""
    genre: str = ""
    period: str = ""
    key: str = ""  # "c# minor", "eb major"
    composition_id: str = ""
    annotation_source: str = ""  # "rules" or a model's name
    annotation_confidence: float = 0.0  # 0 to 1
    evidence: str = ""  # JSON object: field -> the words of the text it was read from
    performer_id: str = ""  # of the list of pianists; empty when not in it


@dataclass(frozen=True, slots=True)
class AudioCluster:
    """The cluster of copies that a recording or segment belongs to, and whether it represents it.

    Used for each level of copies. Most clusters have one member.
    """

    cluster_id: str
    is_lead: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with its reason and its number."""

    is_kept: bool
    reason: str = ""
    measured: float | None = None
    note: str = ""  # what is odd about the item, and how it is read all the same


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that left the pipeline: the stage, the reason, and the number that decided."""

    item_id: str
    candidate_id: str
    source_url: str
    stage: str
    reason: str
    measured: float | None
    detail: str  # one line for a person
    is_failure: bool  # a fault of the item (True) or an expected rejection (False)
