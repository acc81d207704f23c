"""The configuration of a build: the configurations of all rooms in one record, read from TOML and `--set`.

Unknown keys and wrong types are refused. The settings themselves are defined in the rooms.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aria_data.annotate import AnnotateConfig
from aria_data.audio import IngestConfig
from aria_data.collect import CrawlConfig
from aria_data.deduplicate import DeduplicateConfig
from aria_data.download import DownloadConfig
from aria_data.errors import ConfigInvalid
from aria_data.llm import LlmConfig
from aria_data.measure import MeasureConfig, load_limits
from aria_data.release import ReleaseConfig, find_exclusion
from aria_data.screen import ScreenConfig
from aria_data.segment import SegmentConfig
from aria_data.transcribe import TranscribeConfig, backends
from aria_data.web import WebConfig

BEFORE = {"transcribe": {"heads": False}}  # how a dataset was made whose dataset.toml does not name the setting


@dataclass(frozen=True)
class BuildConfig:
    """All settings that determine a dataset's content. Devices, threads and places are not among them."""

    crawl: CrawlConfig = field(default_factory=CrawlConfig)
    web: WebConfig = field(default_factory=WebConfig)
    llm: LlmConfig = field(default_factory=LlmConfig)
    screen: ScreenConfig = field(default_factory=ScreenConfig)
    download: DownloadConfig = field(default_factory=DownloadConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    transcribe: TranscribeConfig = field(default_factory=TranscribeConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    annotate: AnnotateConfig = field(default_factory=AnnotateConfig)
    deduplicate: DeduplicateConfig = field(default_factory=DeduplicateConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)


def load_config(path: Path | None = None, settings: Sequence[str] = ()) -> BuildConfig:
    """Read a TOML file (every key has a default) and apply settings such as `segment.min_segment_s=30`.

    Raises `ConfigInvalid`, which names the file and the key, for an unknown key, a wrong type or a wrong value.
    """
    values = {} if path is None else _read_toml(path)
    return _settled(build_record(BuildConfig, values, str(path)), settings)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigInvalid(f"{path}: is not valid TOML ({error}).") from error


def _settled(config: BuildConfig, settings: Sequence[str]) -> BuildConfig:
    for setting in settings:
        config = _apply(config, setting)
    _check_names(config)
    return config


def load_own_config(path: Path, settings: Sequence[str] = ()) -> tuple[BuildConfig, list[str]]:
    """Read the `dataset.toml` of a dataset. Gives (the configuration, the keys that this version does not know).

    Unknown keys are ignored, so that a dataset made by an older version stays usable.
    """
    unknown: list[str] = []
    values = _known(BuildConfig, _read_toml(path), "", unknown)
    for stage, known_before in BEFORE.items():
        values[stage] = {**known_before, **values.get(stage, {})}
    return _settled(build_record(BuildConfig, values, str(path)), settings), unknown


def _known(record_type: type, values: Mapping[str, Any], prefix: str, unknown: list[str]) -> dict[str, Any]:
    hints = typing.get_type_hints(record_type)
    unknown += [f"{prefix}{name}" for name in values if name not in hints]
    return {
        name: _known(hints[name], value, f"{prefix}{name}.", unknown)
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping)
        else value
        for name, value in values.items()
        if name in hints
    }


def with_values(config: BuildConfig, values: Mapping[str, Any], where: str) -> BuildConfig:
    """Change the settings that nested values name, such as `{"segment": {"min_segment_s": 20}}`, and no other.

    Raises `ConfigInvalid`, whose message begins with `where`, as `load_config` does.
    """
    merged = to_values(config)
    for stage, settings in values.items():
        is_stage = isinstance(settings, Mapping) and stage in merged
        merged[stage] = {**merged[stage], **settings} if is_stage else settings
    return _settled(build_record(BuildConfig, merged, where), ())


def names_all(values: Mapping[str, Any]) -> bool:
    """Whether nested values name every setting, so that none is left to find elsewhere."""
    every = to_values(BuildConfig())
    return all(
        isinstance(values.get(stage), Mapping) and every[stage].keys() <= values[stage].keys() for stage in every
    )


def changed_settings(config: BuildConfig) -> list[str]:
    """Give the settings that differ from their defaults, as lines `stage.key = value`."""
    defaults = to_values(BuildConfig())
    return [
        f"{stage}.{key} = {json.dumps(value, ensure_ascii=False)}"
        for stage, settings in to_values(config).items()
        for key, value in settings.items()
        if value != defaults[stage][key]
    ]


def for_crawl(config: BuildConfig) -> BuildConfig:
    """Give the configuration of a dataset that is crawled: its build keeps only what the crawl accepts.

    `screen.min_relevance_score` becomes `crawl.min_relevance_score`, unless it was changed from its default.
    """
    if config.screen.min_relevance_score != ScreenConfig().min_relevance_score:
        return config
    screen = dataclasses.replace(config.screen, min_relevance_score=config.crawl.min_relevance_score)
    return dataclasses.replace(config, screen=screen)


def _check_names(config: BuildConfig) -> None:
    """Look up limits, exclusion lists and backends that settings name, now rather than after hours of work."""
    load_limits(config.release.pruned_limits)
    load_limits(config.release.deduplicated_limits)
    for name in config.release.exclude:
        find_exclusion(name)
    backends.check(config.transcribe, "transcribe.transcriber")
    second = config.measure.second()
    if second is not None:
        backends.check(second, "measure.second_transcriber")


def _apply(config: BuildConfig, setting: str) -> BuildConfig:
    name, separator, text = setting.partition("=")
    stage, dot, key = name.strip().partition(".")
    if not separator or not dot:
        raise ConfigInvalid(f"--set {setting}: write STAGE.KEY=VALUE, for example segment.min_segment_s=30.")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text.strip()
    values = to_values(config)
    if isinstance(values.get(stage, {}).get(key), tuple) and not isinstance(value, list):
        value = [text.strip() if not isinstance(value, str) else value]  # a list of one, written without brackets
    values.setdefault(stage, {})[key] = value
    return build_record(BuildConfig, values, "--set")


def build_record(record_type: type, values: Mapping[str, Any], where: str) -> Any:
    """Build a configuration record from plain values. `where` begins every message.

    Raises `ConfigInvalid` for unknown names, wrong types and values that the record refuses.
    """
    hints = typing.get_type_hints(record_type)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            close = difflib.get_close_matches(name, hints, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(hints)}."
            raise ConfigInvalid(f"{where}: unknown key {name!r}. {hint}")
        arguments[name] = _checked(hints[name], value, f"{where}: {name}")
    try:
        return record_type(**arguments)
    except ValueError as error:
        raise ConfigInvalid(f"{where}: {error}") from error


def _checked(wanted: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(wanted):
        if not isinstance(value, Mapping):
            raise ConfigInvalid(f"{where}: is a table of settings, not {value!r}.")
        return build_record(wanted, value, where)  # type: ignore[arg-type]
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigInvalid(f"{where}: {value!r} is not a finite number.")
        return float(value)
    if wanted in (int, str, bool) and type(value) is wanted:
        return value
    if typing.get_origin(wanted) is tuple and isinstance(value, list | tuple):
        of_each = typing.get_args(wanted)[0]
        return tuple(_checked(of_each, each, f"{where}[{number}]") for number, each in enumerate(value))
    raise ConfigInvalid(f"{where}: {value!r} is not of type {getattr(wanted, '__name__', wanted)}.")


def to_values(config: Any) -> dict[str, Any]:
    """Give a configuration as plain nested values."""
    return dataclasses.asdict(config)


def to_toml(config: BuildConfig) -> str:
    """Write the configuration as TOML that `load_config` reads back."""
    lines = ["# The configuration this dataset was last built with; `aria-data build --config` reads it."]
    for stage, settings in to_values(config).items():
        lines += [
            "",
            f"[{stage}]",
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()),
        ]
    return "\n".join(lines) + "\n"
