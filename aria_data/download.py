"""Fetch a candidate's audio: the best stream as it is, bounded before and meanwhile, verified to its last sample.

What comes goes to `audio/<2 hex>/<candidate_id>.partial` and gets its name only when it was decoded to its end. A fetch
that was cut goes on where it stopped, if the server says that the file is still the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aria_data.addresses import host_of, require_address, without_secrets
from aria_data.audio import AudioFacts, inspect
from aria_data.errors import AriaDataError, AudioUnreadable, TemporaryError
from aria_data.failures import KINDS, FetchFailed, fetch_error, kind_of
from aria_data.files import PARTIAL, not_writable, printable, require_space, sha256_file, write_whole
from aria_data.licences import licence_code, require_known
from aria_data.pacing import HostResting
from aria_data.records import Candidate, Download
from aria_data.robots import reservation_in, robots_of
from aria_data.sources.base import Lead
from aria_data.sources.html import AUDIO_SUFFIXES, is_audio_address
from aria_data.sources.media import GENERIC, extractor_of
from aria_data.sources.page import follow as follow_page
from aria_data.web import Web
from aria_data.wholeness import WholenessLimits, require_whole

# Streams that yt-dlp reads by itself; others it would hand to outside programs, which nothing here guards.
PROTOCOLS = ("http", "https", "m3u8", "m3u8_native", "http_dash_segments", "ism")
FORMAT = "bestaudio[protocol^=http]/bestaudio/best[protocol^=http]/best"


@dataclass(frozen=True)
class DownloadConfig:
    """What may be fetched, how large, how often. Numbers are ours where no source is named."""

    licences: tuple[str, ...] = ()  # an allow-list of `licences.LICENCES`; empty: whatever the licence
    opt_outs: tuple[str, ...] = ()  # files with ids, addresses, domain:... and uploader:... that are never fetched
    max_duration_s: float = 14_400.0
    max_bytes: int = 2_000_000_000
    max_fetch_s: float = 3600.0  # of one try
    max_duration_error: float = 0.02  # share of what the site announces
    max_duration_error_s: float = 2.0  # sites round to seconds
    max_tries: int = 4  # in a run
    backoff_s: float = 2.0  # before the second try; doubles
    max_attempts: int = 8  # over all runs; then only `aria-data retry` tries again
    retry_s: float = 600.0  # after a run's failure that may pass; doubles with each, up to a day
    num_parallel: int = 4  # fetched at the same time, all hosts together

    def __post_init__(self) -> None:
        for name in self.licences:
            require_known(name, "download.licences")


@dataclass(frozen=True)
class _Plan:
    """Where the audio is now, and what the site says of it."""

    info: dict[str, Any]  # as yt-dlp's downloaders take it
    is_direct: bool
    announced_s: float | None
    licence: str


def download(
    candidate: Candidate, root: Path, config: DownloadConfig, web: Web, wait: Callable[[float], None] = time.sleep
) -> Download:
    """Fetch and verify one candidate's audio below `root`.

    Raises `FetchFailed` (for good) or `FetchDelayed`, `HostResting` (try later), their `reason` being one of
    `failures.KINDS`; `AddressRefused`; `DatasetNotWritable`. Nothing is left behind but what a later run goes on with.
    """
    require_address(candidate.location, web.config.addresses())
    _require_length(candidate.location, candidate.announced_duration_s, config)
    _require_licence(candidate.location, candidate.licence, config, is_final=False)
    partial = partial_path(root, candidate.candidate_id)
    fetcher = _Fetcher(candidate, partial, config, web)
    for number in range(1, config.max_tries + 1):
        try:
            with web.pacer.place(host_of(candidate.location)):
                return fetcher.fetch(root)
        except (FetchFailed, TemporaryError) as error:
            if not fetcher.is_worth_another_try(error) or number == config.max_tries:
                raise
        wait(config.backoff_s * 2 ** (number - 1))
    raise AssertionError("unreachable")


class _Fetcher:
    """The tries for one candidate, which learn from each other."""

    def __init__(self, candidate: Candidate, partial: Path, config: DownloadConfig, web: Web):
        self.candidate, self.partial, self.config, self.web = candidate, partial, config, web
        self._sha256_of_corrupt: set[str] = set()
        self._has_extracted_again = False
        self._location = candidate.location
        self._begun = 0.0

    def fetch(self, root: Path) -> Download:
        """One try: find the audio, let it come, verify it, give it its name."""
        plan = self._plan()
        url = plan.info["url"]
        if plan.is_direct:
            robots_of(self.web).require(url)
        _require_length(url, plan.announced_s, self.config)
        _require_licence(url, plan.licence, self.config, is_final=True)
        self._transfer(plan)
        facts = self._verified(plan)
        audio_sha256 = sha256_file(self.partial)
        target = self.partial.with_name(f"{self.candidate.candidate_id}{_suffix(plan.info)}")
        num_bytes = self.partial.stat().st_size
        self.partial.replace(target)
        forget(self.partial)
        return Download(
            candidate_id=self.candidate.candidate_id,
            audio_path=str(target.relative_to(root)),
            num_bytes=num_bytes,
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

    def is_worth_another_try(self, error: AriaDataError) -> bool:
        """Whether the next try in this run may end otherwise."""
        kind = kind_of(error)
        if isinstance(error, HostResting) or kind == "bot-check":
            if kind == "bot-check":
                self.web.pacer.rest(host_of(self.candidate.location))
            return False
        if not self._has_extracted_again and self._may_have_run_out(kind, getattr(error, "measured", None)):
            self._has_extracted_again = True
            self._location = ""
            return True
        return kind in KINDS and KINDS[kind].is_temporary and not isinstance(error, FetchFailed)

    def _may_have_run_out(self, kind: str, status: float | None) -> bool:
        """Whether a fresh extraction may give another address: after a 403, or where the page names the audio's."""
        page = self.candidate.source_url
        return status == 403 or (kind in ("gone", "private") and page.startswith("http") and page != self._location)

    def _plan(self) -> _Plan:
        """Find where the audio is: known, on a page to be read, or for yt-dlp to say."""
        candidate, page = self.candidate, self.candidate.source_url
        location = self._location or (page if page.startswith("http") else candidate.location)
        self._location = self._location or candidate.location
        if extractor_of(location, self.web) != GENERIC:
            return self._plan_of_site(location)
        if is_audio_address(location) or (location != page and location == candidate.location):
            return self._plan_direct(location, candidate)
        lead = Lead("page", location, hint=candidate.title)
        found = next((one for one in follow_page(lead, self.web, 1) if isinstance(one, Candidate)), None)
        if found is None:
            raise fetch_error("unsupported", f"{printable(location, 160)}: no audio was found at this address.")
        said = replace(
            candidate,
            licence=candidate.licence or found.licence,
            announced_duration_s=candidate.announced_duration_s or found.announced_duration_s,
        )
        if found.location != location and extractor_of(found.location, self.web) != GENERIC:
            return self._plan_of_site(found.location)
        return self._plan_direct(found.location, said)

    def _plan_direct(self, url: str, said: Candidate) -> _Plan:
        info = {
            "id": said.candidate_id,
            "title": said.title,
            "url": url,
            "ext": _suffix({"url": url})[1:],
            "protocol": "http",
        }
        return _Plan(info, True, said.announced_duration_s, said.licence)

    def _plan_of_site(self, url: str) -> _Plan:
        params: dict[str, Any] = {"format": FORMAT, "noplaylist": True, "playlist_items": "1", "skip_download": True}
        with self.web.errors_of(url), self.web.youtube_dl(**params) as ydl:
            info = ydl.extract_info(url, download=False)
        if isinstance(info, dict) and info.get("_type") in ("playlist", "multi_video"):
            info = next((entry for entry in info.get("entries") or () if isinstance(entry, dict)), None)
        if not isinstance(info, dict) or not isinstance(info.get("url"), str):
            raise fetch_error("unsupported", f"{printable(url, 160)}: no audio was found at this address.")
        if info.get("is_live"):
            raise fetch_error("unsupported", f"{printable(url, 160)}: is live, and has no end yet.")
        announced = info.get("duration") if isinstance(info.get("duration"), int | float) else None
        return _Plan(info, False, announced, str(info.get("license") or self.candidate.licence))

    def _transfer(self, plan: _Plan) -> None:
        """Let the audio come, within bounds, going on from what is there if it is still the same file."""
        url = plan.info["url"]
        self._require_protocol(plan.info)
        headers = {**(plan.info.get("http_headers") or {}), **self._resume_headers(url)}
        headers.setdefault("User-Agent", self.web.user_agent)
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        watch = _Watch(self, plan, url)
        params: dict[str, Any] = {
            "retries": 0, "fragment_retries": 3, "skip_unavailable_fragments": False, "hls_prefer_native": True,
            "nopart": True, "continuedl": True, "updatetime": False,
        }  # fmt: skip
        self._begun = time.monotonic()
        with self.web.errors_of(url), self.web.watched(watch.answer) as ydl:
            from yt_dlp.downloader import get_suitable_downloader

            params = {**ydl.params, **params}
            downloader = get_suitable_downloader(plan.info, params)(ydl, params)
            downloader.add_progress_hook(watch.progress)
            try:
                is_there, _ = downloader.download(str(self.partial), {**plan.info, "http_headers": headers})
            except OSError as error:
                raise not_writable(self.partial, error) from error
        if not is_there or not self.partial.exists():
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
        """What makes a server go on only if the file has not changed; without it, begin anew."""
        known = _read_validators(self.partial)
        if self.partial.exists() and known.get("url") == url and known.get("validator"):
            return {"If-Range": known["validator"]}
        forget(self.partial)
        return {}

    def _verified(self, plan: _Plan) -> AudioFacts:
        """Decode what came to its end. What is not whole is deleted; the same bytes twice are a failure for good."""
        try:
            facts = inspect(self.partial, self.config.max_duration_s)
            require_whole(self.candidate.candidate_id, facts, WholenessLimits())
            self._require_announced(facts, plan.announced_s or self.candidate.announced_duration_s)
            return facts
        except AudioUnreadable as error:
            shown, sha256 = printable(plan.info["url"], 120), sha256_file(self.partial)
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
        if abs(facts.duration_s - announced_s) > allowed_s:
            raise AudioUnreadable(
                f"{self.candidate.candidate_id}: lasts {facts.duration_s:.1f} s, not {announced_s:.1f} s as announced.",
                reason="wrong_duration",
                measured=facts.duration_s / announced_s,
            )


class _Watch:
    """Looks on while audio comes: what the server says of it first, then how much it becomes."""

    def __init__(self, fetcher: _Fetcher, plan: _Plan, url: str):
        self._fetcher, self._plan, self._url = fetcher, plan, url
        self._checked_at = 0

    def answer(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Judge the headers of an answer before its body comes."""
        config, shown = self._fetcher.config, printable(without_secrets(url), 160)
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if self._plan.is_direct:
            word = reservation_in(headers)
            if word:
                raise fetch_error("robots", f"{shown}: the site asks that it is not used ({word}).")
            if kind in ("text/html", "application/xhtml+xml"):
                raise fetch_error("unsupported", f"{shown}: is a web page now, not audio.")
            if kind.endswith("mpegurl"):
                raise fetch_error("unsupported", f"{shown}: is a playlist of a stream, not audio.")
        size = headers.get("content-length", "")
        size = headers.get("content-range", "").rpartition("/")[2] if status == 206 else size
        if size.isdigit() and int(size) > config.max_bytes:
            raise fetch_error(
                "too-long", f"{shown}: {int(size):,} bytes, more than download.max_bytes allows.", float(size)
            )
        if size.isdigit():
            require_space(self._fetcher.partial, int(size))
        if self._plan.is_direct:
            etag = headers.get("etag", "")
            validator = etag if etag and not etag.startswith("W/") else headers.get("last-modified", "")
            if headers.get("accept-ranges", "").lower() == "none":
                validator = ""
            _write_validators(self._fetcher.partial, {"url": self._url, "validator": validator[:300]})

    def progress(self, said: Mapping[str, Any]) -> None:
        """Judge how much has come. yt-dlp calls this after every block."""
        config, come = self._fetcher.config, int(said.get("downloaded_bytes") or 0)
        shown = printable(without_secrets(self._url), 160)
        if come > config.max_bytes:
            forget(self._fetcher.partial)
            raise fetch_error("too-long", f"{shown}: more than {config.max_bytes:,} bytes, and no end.", float(come))
        if time.monotonic() - self._fetcher._begun > config.max_fetch_s:
            forget(self._fetcher.partial)
            raise fetch_error(
                "too-long", f"{shown}: did not end within {config.max_fetch_s:.0f} s.", config.max_fetch_s
            )
        if come - self._checked_at > 16 << 20:
            self._checked_at = come
            require_space(self._fetcher.partial, 16 << 20)


def partial_path(root: Path, candidate_id: str) -> Path:
    """Where a candidate's audio is while it comes."""
    bucket = hashlib.sha256(candidate_id.encode()).hexdigest()[:2]
    return root / "audio" / bucket / f"{candidate_id}{PARTIAL}"


def forget(partial: Path) -> None:
    """Delete what a try left behind: a partial file, its fragments and notes."""
    for path in partial.parent.glob(f"{partial.name}*"):
        path.unlink(missing_ok=True)


def _require_length(shown: str, announced_s: float | None, config: DownloadConfig) -> None:
    if announced_s and announced_s > config.max_duration_s:
        raise fetch_error(
            "too-long",
            f"{printable(shown, 160)}: lasts {announced_s:.0f} s, more than download.max_duration_s allows.",
            announced_s,
        )


def _require_licence(shown: str, licence: str, config: DownloadConfig, is_final: bool) -> None:
    """Before the site was asked, a licence that is not known yet may still turn out well."""
    code = licence_code(licence)
    if not config.licences or code in config.licences or (code == "unknown" and not is_final):
        return
    said = printable(licence, 60) or "none is named"
    raise fetch_error(
        "licence", f"{printable(shown, 160)}: its licence ({said}) is not among {', '.join(config.licences)}."
    )


def _suffix(info: Mapping[str, Any]) -> str:
    """A file ending for people; the decoder looks at the content."""
    path = str(info.get("url", "")).split("?")[0].split("#")[0].lower()
    from_url = next((suffix for suffix in AUDIO_SUFFIXES if path.endswith(suffix)), "")
    said = f".{info.get('ext') or ''}".lower()
    return said if said in AUDIO_SUFFIXES else from_url or ".audio"


def _read_validators(partial: Path) -> dict[str, str]:
    try:
        said = json.loads(partial.with_name(f"{partial.name}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in said.items()} if isinstance(said, dict) else {}


def _write_validators(partial: Path, said: Mapping[str, str]) -> None:
    write_whole(partial.with_name(f"{partial.name}.json"), json.dumps(dict(said)).encode())
