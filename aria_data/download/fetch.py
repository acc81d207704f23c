"""Fetch a candidate's audio: the best stream, unconverted, within bounds, verified to its last sample.

A file gets its name only when it was decoded to its end (`partial_files.py` keeps it until then). A fetch that was cut
goes on where it stopped, if the server confirms that the file is still the same; parts of two files are never joined.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aria_data.audio import AudioFacts, IntegrityLimits, inspect, require_whole
from aria_data.collect.sources.base import Lead
from aria_data.collect.sources.media import GENERIC, extractor_of
from aria_data.collect.sources.page import follow as follow_page
from aria_data.collect.sources.players import AUDIO_SUFFIXES, is_audio_address, is_stream_address
from aria_data.download.partial_files import (
    closing_files,
    forget,
    is_whole,
    mark_of,
    note_record,
    num_bytes_of,
    partial_path,
    prepare,
    unsettled,
)
from aria_data.download.response_checks import Watch
from aria_data.errors import AriaDataError, AudioUnreadable, PermanentError, TemporaryError
from aria_data.records import Candidate, Download
from aria_data.storage import not_writable, printable, sha256_file
from aria_data.web import (
    KINDS,
    FetchFailed,
    HostResting,
    RequestsSpent,
    Web,
    fetch_error,
    host_of,
    kind_of,
    licence_code,
    robots_of,
    without_secrets,
)
from aria_data.web.addresses import require_address
from aria_data.web.licences import require_known
from aria_data.web.ytdlp_handler import LIVE

# Streams that yt-dlp reads by itself. It would hand others to outside programs, whose requests pass no policy.
PROTOCOLS = ("http", "https", "m3u8", "m3u8_native", "http_dash_segments", "ism")
FORMAT = "bestaudio[protocol^=http]/bestaudio/best[protocol^=http]/best"
MAX_ON_PAGE = 20_000  # recordings on a page among which a candidate is sought
WHOLE = IntegrityLimits()  # the defaults of the settings `ingest`


@dataclass(frozen=True)
class DownloadConfig:
    """What may be fetched, how large, how often. Numbers are ours where no source is named.

    Raises `ConfigInvalid` for an unknown licence.
    """

    licences: tuple[str, ...] = ()  # an allow-list of `web.licences.LICENCES`; empty: any licence
    opt_outs: tuple[str, ...] = ()  # files with ids, addresses, domain:... and uploader:... that are never fetched
    max_duration_s: float = 14_400.0
    max_bytes: int = 2_000_000_000
    max_fetch_s: float = 3600.0  # of one try
    max_duration_error: float = 0.02  # share of what the site announces
    max_duration_error_s: float = 2.0  # sites round to seconds
    max_tries: int = 4  # in a run
    backoff_s: float = 2.0  # before the second try; doubles
    max_attempts: int = 8  # over all runs; then only `aria-data retry` tries again
    retry_s: float = 600.0  # after a run that ended in a temporary failure; doubles with each, up to a day
    num_parallel: int = 4  # fetched at the same time, all hosts together

    def __post_init__(self) -> None:
        for name in self.licences:
            require_known(name, "download.licences")


@dataclass(frozen=True)
class _Plan:
    """The address of the audio, with the length and licence that the site states."""

    info: dict[str, Any]  # as yt-dlp's downloaders take it
    is_direct: bool  # fetched as a plain file, not by an extractor of yt-dlp: robots.txt and headers count
    announced_s: float | None
    licence: str

    @property
    def is_one_file(self) -> bool:
        """Whether it is one file, no stream of pieces."""
        return self.info.get("protocol") in ("http", "https")


def download(
    candidate: Candidate,
    root: Path,
    config: DownloadConfig,
    web: Web,
    wait: Callable[[float], None] = time.sleep,
    limits: IntegrityLimits = WHOLE,
) -> Download:
    """Fetch one candidate's audio below `root` and verify that it is whole by `limits`.

    Raises `FetchFailed` (for good) or `FetchDelayed` (try later), whose `reason` is one of `web.failures.KINDS`;
    `HostResting`, `RequestsSpent`, `AddressRefused`, `DatasetNotWritable`. After an error, only a part that a later run
    can continue stays on disk.
    """
    partial = partial_path(root, candidate.candidate_id)
    require_address(candidate.location, web.config.addresses())
    _require_length(candidate.location, candidate.announced_duration_s, config)
    _require_licence(candidate.location, candidate.licence, config, is_final=False)
    fetcher = _Fetcher(candidate, partial, config, web, limits)
    try:
        return unsettled(root, partial) or _in_tries(fetcher, root, wait)
    except PermanentError:
        forget(partial)
        raise
    except TemporaryError:
        if not mark_of(partial):
            forget(partial)
        raise


def _in_tries(fetcher: _Fetcher, root: Path, wait: Callable[[float], None]) -> Download:
    config, number = fetcher.config, 1
    failed: AriaDataError | None = None
    while True:
        try:
            with fetcher.web.pacer.place(host_of(fetcher.candidate.location)):
                return fetcher.fetch(root)
        except (FetchFailed, TemporaryError) as error:
            if isinstance(error, HostResting) and failed is not None:
                raise failed from error  # the failure that made the host rest tells more
            failed = error
            if not fetcher.is_worth_another_try(error) or number >= config.max_tries:
                raise
        wait(config.backoff_s * 2 ** (number - 1))
        number += 1


class _Fetcher:
    """The tries for one candidate. What one try finds out is kept for the next."""

    def __init__(self, candidate: Candidate, partial: Path, config: DownloadConfig, web: Web, limits: IntegrityLimits):
        self.candidate, self.partial, self.config, self.web, self.limits = candidate, partial, config, web, limits
        self._sha256_of_corrupt: set[str] = set()
        self._has_extracted_again = False
        self._location = candidate.location
        self._gone_from = ""  # an address that the server answers with "gone"

    def fetch(self, root: Path) -> Download:
        """Make one try: find the audio, fetch it, verify it, give the file its name."""
        plan = self._plan()
        url = plan.info["url"]
        if url == self._gone_from:
            raise fetch_error("gone", f"{printable(without_secrets(url), 160)}: is gone, and its page names no other.")
        if plan.is_direct:
            robots_of(self.web).require(url)
        _require_length(url, plan.announced_s, self.config)
        _require_licence(url, plan.licence, self.config, is_final=True)
        self._transfer(plan)
        facts = self._verified(plan)
        audio_sha256 = sha256_file(self.partial)
        target = self.partial.with_name(f"{self.candidate.candidate_id}{_suffix(plan.info)}")
        record = Download(
            candidate_id=self.candidate.candidate_id,
            audio_path=str(target.relative_to(root)),
            num_bytes=num_bytes_of(self.partial),
            audio_sha256=audio_sha256,
            samples_sha256=facts.samples_sha256,
            duration_s=round(facts.duration_s, 6),
            sample_rate=facts.info.sample_rate,
            num_channels=facts.info.num_channels,
            codec=facts.info.codec,
            loudness_db=round(facts.loudness_db, 2),
            peak_db=round(facts.peak_db, 2),
            num_faults=facts.num_faults,
            licence=plan.licence,
            licence_code=licence_code(plan.licence),
            fetched_from=printable(without_secrets(url), 500),
            fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        note_record(self.partial, record)
        self.partial.replace(target)
        return record

    def is_worth_another_try(self, error: AriaDataError) -> bool:
        """Whether the next try in this run may succeed. Prepares it, and lets the host rest after a bot check."""
        kind = kind_of(error)
        if isinstance(error, HostResting | RequestsSpent) or kind == "bot-check":
            if kind == "bot-check":
                self.web.pacer.rest(host_of(self.candidate.location))
            return False
        if getattr(error, "measured", None) == 416:
            forget(self.partial)  # the file is now shorter than the part on disk
        if not self._has_extracted_again and self._may_have_run_out(kind, getattr(error, "measured", None)):
            self._has_extracted_again = True
            self._gone_from = self._location if kind == "gone" else ""
            self._location = ""
            return True
        is_passing = kind in KINDS and KINDS[kind].is_temporary and not KINDS[kind].waits
        return is_passing and not isinstance(error, FetchFailed)

    def _may_have_run_out(self, kind: str, status: float | None) -> bool:
        """Whether a fresh extraction may give another address: after a 403, or where the page names the audio's."""
        page = self.candidate.source_url
        return status == 403 or (kind in ("gone", "private") and page.startswith("http") and page != self._location)

    def _plan(self) -> _Plan:
        """Find the audio's address: it is known, on a page that is read here, or found by yt-dlp."""
        candidate, page = self.candidate, self.candidate.source_url
        location = self._location or (page if page.startswith("http") else candidate.location)
        self._location = self._location or candidate.location
        if extractor_of(location, self.web) != GENERIC or is_stream_address(location):
            return self._plan_of_site(location)
        if is_audio_address(location) or (location != page and location == candidate.location):
            return self._plan_direct(location, candidate)
        lead = Lead("page", location, hint=candidate.title)
        found = self._own([one for one in follow_page(lead, self.web, MAX_ON_PAGE) if isinstance(one, Candidate)])
        completed = replace(
            candidate,
            licence=candidate.licence or found.licence,
            announced_duration_s=candidate.announced_duration_s or found.announced_duration_s,
        )
        is_read_by_yt_dlp = found.location == location and not found.num_bytes and not is_audio_address(location)
        if is_read_by_yt_dlp or extractor_of(found.location, self.web) != GENERIC or is_stream_address(found.location):
            return self._plan_of_site(found.location)
        return self._plan_direct(found.location, completed)

    def _own(self, found: list[Candidate]) -> Candidate:
        """Give the recording of a page that is this candidate. Raises `FetchFailed` where that is not certain: a guess
        could store another recording's audio under this one's name."""
        for one in found:
            if one.candidate_id == self.candidate.candidate_id:
                return one
        is_known = self.candidate.location != self.candidate.source_url
        if len(found) != 1 or is_known:
            shown = f"{printable(self.candidate.source_url, 160)}: holds {len(found)} recordings, none surely this one."
            raise fetch_error("gone" if is_known else "unsupported", shown)
        return found[0]

    def _plan_direct(self, url: str, candidate: Candidate) -> _Plan:
        info = {
            "id": candidate.candidate_id,
            "title": candidate.title,
            "url": url,
            "ext": _suffix({"url": url})[1:],
            "protocol": "http",
        }
        return _Plan(info, True, candidate.announced_duration_s, candidate.licence)

    def _plan_of_site(self, url: str) -> _Plan:
        params: dict[str, Any] = {"format": FORMAT, "noplaylist": True, "playlist_items": "1", "skip_download": True}
        with self.web.errors_of(url), self.web.youtube_dl(**params) as ydl:
            info = ydl.extract_info(url, download=False)
        if isinstance(info, dict) and info.get("_type") in ("playlist", "multi_video"):
            info = next((entry for entry in info.get("entries") or () if isinstance(entry, dict)), None)
        info = info if isinstance(info, dict) else {}
        if info.get("is_live") or info.get("live_status") in LIVE:
            raise fetch_error("live", f"{printable(url, 160)}: runs now or begins later, and has no end yet.")
        if not isinstance(info.get("url"), str):
            raise fetch_error("unsupported", f"{printable(url, 160)}: no audio was found at this address.")
        announced = info.get("duration") if isinstance(info.get("duration"), int | float) else None
        is_direct = info.get("extractor_key") in (GENERIC, "HtmlEmbed")
        return _Plan(info, is_direct, announced, str(info.get("license") or self.candidate.licence))

    def _transfer(self, plan: _Plan) -> None:
        """Fetch the audio within bounds, from the part on disk onwards if it is still the same file."""
        url = plan.info["url"]
        self._require_protocol(plan.info)
        prepare(self.partial)
        if plan.is_direct and is_whole(self.partial, url):
            return  # a run was killed between the last byte and the name
        headers = {**(plan.info.get("http_headers") or {}), **self._resume_headers(url)}
        headers.setdefault("User-Agent", self.web.user_agent)
        watch = Watch(
            self.partial, url, plan.is_direct, plan.is_one_file, self.config.max_bytes, self.config.max_fetch_s
        )
        params: dict[str, Any] = {
            "retries": 0, "fragment_retries": 3, "skip_unavailable_fragments": False, "hls_prefer_native": True,
            "nopart": True, "continuedl": True, "updatetime": False,
        }  # fmt: skip
        with self.web.errors_of(url), self.web.watched(watch.answer) as ydl:
            from yt_dlp.downloader import get_suitable_downloader

            params = {**ydl.params, **params}
            downloader = get_suitable_downloader(plan.info, params)(ydl, params)
            downloader.add_progress_hook(watch.progress)
            try:
                with closing_files(downloader):
                    is_there, _ = downloader.download(str(self.partial), {**plan.info, "http_headers": headers})
            except OSError as error:
                raise not_writable(self.partial, error) from error
        if not is_there or not num_bytes_of(self.partial):
            raise fetch_error("network", f"{printable(url, 160)}: nothing came.")

    def _require_protocol(self, info: Mapping[str, Any]) -> None:
        from yt_dlp.utils import determine_protocol

        protocol = determine_protocol(dict(info))
        if protocol not in PROTOCOLS:
            shown = printable(self.candidate.location, 160)
            raise fetch_error(
                "unsupported", f"{shown}: its audio comes by {printable(protocol, 20)}, which is not fetched."
            )
        if protocol.startswith("http") and protocol != "http_dash_segments":
            require_address(info["url"], self.web.config.addresses())

    def _resume_headers(self, url: str) -> dict[str, str]:
        """Give the header with which a server continues only an unchanged file; without one, delete the part."""
        mark = mark_of(self.partial, url)
        if mark:
            return {"If-Range": mark}
        forget(self.partial)
        return {}

    def _verified(self, plan: _Plan) -> AudioFacts:
        """Decode the fetched file to its end. A file that is not whole is deleted; when a second try brings the same
        bytes, that is a failure for good."""
        try:
            facts = inspect(self.partial, self.config.max_duration_s)
            require_whole(self.candidate.candidate_id, facts, self.limits)
            self._require_announced(facts, plan.announced_s or self.candidate.announced_duration_s)
            return facts
        except AudioUnreadable as error:
            shown, sha256 = printable(without_secrets(plan.info["url"]), 120), sha256_file(self.partial)
            forget(self.partial)
            if error.reason == "too_long":
                raise fetch_error("too-long", f"{shown}: {error}", error.measured) from error
            message = f"{shown}: what came is not whole: {error}"
            if sha256 in self._sha256_of_corrupt:
                raise FetchFailed(message, "corrupt", error.measured) from error
            self._sha256_of_corrupt.add(sha256)
            raise fetch_error("corrupt", message, error.measured) from error

    def _require_announced(self, facts: AudioFacts, announced_s: float | None) -> None:
        if not announced_s:
            return
        allowed_s = max(self.config.max_duration_error_s, self.config.max_duration_error * announced_s)
        lengths_s = (facts.duration_s, facts.film_s or facts.duration_s)  # a site announces the film
        if min(abs(length_s - announced_s) for length_s in lengths_s) > allowed_s:
            raise AudioUnreadable(
                f"{self.candidate.candidate_id}: lasts {facts.duration_s:.1f} s, not {announced_s:.1f} s as announced.",
                reason="wrong_duration",
                measured=facts.duration_s / announced_s,
            )


def _require_length(shown: str, announced_s: float | None, config: DownloadConfig) -> None:
    if announced_s and announced_s > config.max_duration_s:
        raise fetch_error(
            "too-long",
            f"{printable(shown, 160)}: lasts {announced_s:.0f} s, more than download.max_duration_s allows.",
            announced_s,
        )


def _require_licence(shown: str, licence: str, config: DownloadConfig, is_final: bool) -> None:
    """Raise `FetchFailed` for a licence that is not allowed. An unknown one is refused only when `is_final`: the site
    may still name it."""
    code = licence_code(licence)
    if not config.licences or code in config.licences or (code == "unknown" and not is_final):
        return
    named = printable(licence, 60) or "none is named"
    raise fetch_error(
        "licence", f"{printable(shown, 160)}: its licence ({named}) is not among {', '.join(config.licences)}."
    )


def _suffix(info: Mapping[str, Any]) -> str:
    """Give a file ending for people; the decoder looks at the content."""
    path = str(info.get("url", "")).split("?")[0].split("#")[0].lower()
    from_url = next((suffix for suffix in AUDIO_SUFFIXES if path.endswith(suffix)), "")
    stated = f".{info.get('ext') or ''}".lower()
    return stated if stated in AUDIO_SUFFIXES else from_url or ".audio"
