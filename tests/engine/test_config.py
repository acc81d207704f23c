"""A configuration is read strictly: what is unknown or of the wrong kind is named in one line."""

from __future__ import annotations

import dataclasses
import typing

import pytest
from places import ROOT

from aria_data.config import BuildConfig, for_crawl, load_config, to_toml
from aria_data.errors import ConfigInvalid


def load(tmp_path, text: str | bytes) -> BuildConfig:
    (tmp_path / "c.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(tmp_path / "c.toml")


def test_without_a_file_every_setting_has_its_default():
    assert load_config() == BuildConfig()


def test_a_file_changes_what_it_names_and_leaves_the_rest(tmp_path):
    config = load(tmp_path, "[segment]\nmin_segment_s = 20\nmax_gap_s = 2.5\n[release]\npruned_limits = 'heavy'")
    assert (config.segment.min_segment_s, config.segment.max_gap_s) == (20.0, 2.5)
    assert isinstance(config.segment.min_segment_s, float)
    assert config.release.pruned_limits == "heavy"
    assert config.segment.min_window_score == BuildConfig().segment.min_window_score
    assert config.ingest == BuildConfig().ingest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[segmnt]\nx = 1", r"c.toml: unknown key 'segmnt'. Did you mean 'segment'\?"),
        ("[segment]\nmin_segments = 1", r"c.toml: segment: unknown key 'min_segments'. Did you mean 'min_segment_s'\?"),
        ("[segment]\nzzz = 1", "unknown key 'zzz'. Known: min_window_score, "),
        ("[segment]\nmin_segment_s = 'long'", "c.toml: segment: min_segment_s: 'long' is not of type float"),
        ("[segment]\nmin_segment_s = true", "True is not of type float"),
        ("[segment]\nmin_segment_s = [1]", r"\[1\] is not of type float"),
        ("[segment]\nmin_segment_s = nan", "nan is not a finite number"),
        ("[segment]\nmin_segment_s = inf", "inf is not a finite number"),
        ("[screen]\nmin_relevance_score = 2.5", "2.5 is not of type int"),
        ("[transcribe]\ntranscriber = 5", "5 is not of type str"),
        ("[release]\npruned_limits = 'no'", r"no: is neither a preset \(light or heavy\) nor a readable file"),
        ("[release]\ndeduplicated_limits = 'c.toml/x'", "c.toml/x: is neither a preset"),
        ("[transcribe]\ntranscriber = 'no'", "'no' is not one of bytedance, transkun"),
        ("segment = 5", "c.toml: segment: is a table of settings, not 5"),
        ("[segment\n", "c.toml: is not valid TOML"),
        (b"\xff\xfe", "c.toml: is not valid TOML"),
        (b"[segment]\nx = '\x00'", "c.toml: is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_file_key_and_value(tmp_path, text, says):
    with pytest.raises(ConfigInvalid, match=says) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_config_that_cannot_be_read_is_one_line(tmp_path, kind):
    if kind == "folder":
        (tmp_path / "c.toml").mkdir()
    with pytest.raises(ConfigInvalid, match="c.toml: cannot be read"):
        load_config(tmp_path / "c.toml")


def test_a_setting_on_the_command_line_wins_over_the_file(tmp_path):
    (tmp_path / "c.toml").write_text("[segment]\nmin_segment_s = 20\nmax_gap_s = 2.0")
    config = load_config(tmp_path / "c.toml", ["segment.min_segment_s=30", "release.pruned_limits=heavy"])
    assert (config.segment.min_segment_s, config.segment.max_gap_s) == (30.0, 2.0)
    assert config.release.pruned_limits == "heavy"
    assert load_config(None, [" release.pruned_limits = 'heavy' "]).release.pruned_limits == "heavy"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("segment.min_segment_s", "write STAGE.KEY=VALUE"),
        ("min_segment_s=5", "write STAGE.KEY=VALUE"),
        ("", "write STAGE.KEY=VALUE"),
        ("segment.min_segment=5", r"unknown key 'min_segment'. Did you mean 'min_segment_s'\?"),
        ("segmnt.x=5", "unknown key 'segmnt'. Did you mean 'segment'"),
        ("segment.min_segment_s=", "--set: segment: min_segment_s: '' is not of type float"),
    ],
)
def test_a_setting_that_is_wrong_is_one_line(setting, says):
    with pytest.raises(ConfigInvalid, match=says) as caught:
        load_config(None, [setting])
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read_back_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'é 🎹 "quoted" \\ x.toml'
    (tmp_path / name).write_text("min_num_notes = 1")
    settings = [f"release.pruned_limits='{name}'", "segment.min_segment_s=1e-7", "ingest.max_faults=0"]
    for config in (BuildConfig(), load_config(None, settings)):
        assert load(tmp_path, to_toml(config)) == config


def test_every_setting_of_every_stage_is_of_a_kind_that_is_checked():
    for stage in typing.get_type_hints(BuildConfig).values():
        for name, kind in typing.get_type_hints(stage).items():
            assert kind in (int, float, str, bool, tuple[str, ...]), name


def test_a_configuration_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_config().segment.min_segment_s = 1.0


@pytest.mark.parametrize("recipe", sorted((ROOT / "manifests/recipes").glob("*.toml")), ids=str)
def test_every_recipe_can_be_loaded(recipe):
    load_config(recipe)


def test_what_a_crawl_would_not_accept_a_build_need_not_fetch():
    assert for_crawl(load_config()).screen.min_relevance_score == 4
    chosen = load_config(settings=["screen.min_relevance_score=3"])
    assert for_crawl(chosen).screen.min_relevance_score == 3


def test_a_list_with_something_else_in_it_is_refused_with_its_place():
    with pytest.raises(ConfigInvalid, match=r"seeds\[1\]"):
        load_config(settings=['crawl.seeds=["a", 3]'])


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "{a = " * 100_000])
def test_values_nested_too_deeply_are_one_line(tmp_path, text):
    with pytest.raises(ConfigInvalid, match=r"c\.toml: is not valid TOML \(maximum recursion depth"):
        load(tmp_path, text)
    with pytest.raises(ConfigInvalid, match="is not of type float") as caught:
        load_config(None, [f"segment.min_segment_s={text.removeprefix('x = ')}"])
    assert "\n" not in str(caught.value)
