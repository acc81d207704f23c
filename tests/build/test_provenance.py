"""A version records what it was made from; the same inputs give the same version, byte for byte."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes import FakeTranscriber, melody, write_audio
from places import ROOT

import aria_data
from aria_data import exports
from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.transcribe import backends
from flows.build.provenance import code
from flows.cli.command import cli
from flows.show.build_tables import closing_tables


@pytest.fixture
def source(tmp_path):
    for seed in range(3):
        write_audio(tmp_path / "recordings" / f"Chopin - Nocturne op. {9 + seed} no. 1.wav", melody(8, seed))
    return tmp_path / "recordings"


def test_a_version_names_configuration_code_models_libraries_and_counts(build, source, tmp_path):
    build(source, tmp_path / "dataset", settings=("segment.min_segment_s=5", "web.contact=me@example.org"))
    (version,) = Manifest(tmp_path / "dataset").versions()
    facts = version.facts
    assert facts["config"]["segment"]["min_segment_s"] == 5.0
    heads = backends.heads_sha256()
    assert facts["models"]["transcriber"] == {"name": "transkun", "sha256": "f" * 64, "heads_sha256": heads}
    assert len(heads) == 64
    assert facts["models"]["classifier"]["sha256"]
    assert facts["code"]["version"] == code()["version"] != ""
    assert facts["libraries"].keys() >= {"torch", "numpy", "transkun"}
    assert facts["prompts"] == {}  # no language model was asked
    assert facts["counts"]["num_files"] == 3
    assert facts["counts"]["subsets"].keys() == {"in_pruned", "in_deduplicated", "in_unique"}
    assert sum(facts["counts"]["splits"].values()) == 3
    assert "me@example.org" not in version.facts_json  # who asked is nobody's business


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="these sources are not a checkout")
def test_a_version_made_from_a_checkout_names_its_commit():
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert code()["commit"] == head.stdout.strip()


@pytest.mark.parametrize(
    ("server", "prompt"), [("https://models.example.org/v1", "screen-1"), ("http://127.0.0.1:1/v1", "screen-digit-1")]
)
def test_a_model_that_judged_is_named_with_the_hash_of_its_prompt(tmp_path, monkeypatch, server, prompt):
    from aria_data.config import load_config
    from aria_data.transcribe import Compute
    from flows.build.provenance import facts_of
    from flows.engine.context import BuildContext

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    free = ["llm.input_price=0", "llm.output_price=0", f"llm.base_url={server}"]
    config = load_config(None, ["screen.scorer=llm", "annotate.annotator=llm", "llm.model=some-model", *free])
    facts = facts_of(BuildContext(tmp_path, config, Compute()), [])
    assert facts["models"]["screen"] == facts["models"]["annotate"] == {"name": "some-model"}
    assert facts["prompts"].keys() == {prompt, "annotate-2"}
    assert all(len(digest) == 64 for digest in facts["prompts"].values())


def test_a_name_makes_a_version_even_where_nothing_changed_and_is_given_once(build, source, tmp_path):
    dataset = tmp_path / "dataset"
    first = build(source, dataset)
    assert not build(source, dataset).is_new_version
    named = build(source, dataset, name="spring")
    assert (named.version, named.is_new_version) == (first.version + 1, True)
    assert Manifest(dataset).diff(first.version, "spring").changed == {}
    assert aria_data.Dataset(dataset, "spring").version == named.version
    with pytest.raises(UsageError, match="version 2 is named 'spring' already"):
        build(source, dataset, name="spring")
    with pytest.raises(UsageError, match="cannot name a version"):
        build(source, dataset, name="../x")


def digests(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("layout", ["folder", "huggingface", "webdataset", "aria", "aria-jsonl"])
def test_the_same_inputs_give_the_same_release_byte_for_byte(build, source, tmp_path, layout):
    for name in ("one", "other"):
        build(source, tmp_path / name)
        exports.export(aria_data.Dataset(tmp_path / name), tmp_path / f"{name} export", layout)
    assert len({Manifest(tmp_path / name).content_sha256() for name in ("one", "other")}) == 1
    found = digests(tmp_path / "one export")
    assert found == digests(tmp_path / "other export")
    assert len(found) >= 3


def test_versions_are_listed_with_their_names_and_what_they_were_made_from(build, source, tmp_path):
    build(source, tmp_path / "dataset", name="spring")
    table = CliRunner().invoke(cli, ["versions", str(tmp_path / "dataset")]).output
    assert "spring" in table
    assert "facts" not in table
    (line,) = CliRunner().invoke(cli, ["versions", str(tmp_path / "dataset"), "--json"]).output.splitlines()
    assert json.loads(line)["facts"]["counts"]["num_files"] == 3


def test_a_dataset_transcribed_in_several_kinds_of_number_says_so(build, source, tmp_path, monkeypatch, capsys):
    dataset = tmp_path / "dataset"
    assert build(source, dataset).warnings == []
    assert Manifest(dataset).versions()[-1].facts["counts"]["precisions"] == {"float32": 3}
    assert "several kinds of number" not in (dataset / "CARD.md").read_text()
    write_audio(source / "Chopin - Nocturne op. 15 no. 1.wav", melody(8, 7))
    monkeypatch.setattr(FakeTranscriber, "precision", "int8")
    said = "computed in several kinds of number (3 in float32, 1 in int8)"
    assert said in build(source, dataset).warnings[0]
    assert said in (dataset / "CARD.md").read_text()
    capsys.readouterr()
    closing_tables(build(source, dataset), "dataset")  # nothing to do, and said again
    assert said in capsys.readouterr().out


def test_what_an_exclusion_list_names_is_in_no_split(build, source, tmp_path):
    from aria_data.release.exclusions import Titled, make_exclusion, notes_in

    dataset = tmp_path / "dataset"
    build(source, dataset)
    by_url = {row["source_url"]: row for row in Manifest(dataset).rows()}
    first, second, third = (by_url[f"Chopin - Nocturne op. {opus} no. 1.wav"] for opus in (9, 10, 11))
    assert first["composition_id"] == "chopin:op9-1"
    titled = [Titled("a.mid", "op9-1", "Chopin")]
    by_title = make_exclusion("mine", titled, lambda one: "chopin:op9-1")
    by_title.save(tmp_path / "mine.json")
    build(source, dataset, settings=("segment.min_segment_s=5", f'release.exclude=["{tmp_path}/mine.json"]'))
    splits = {row["source_url"]: (row["split"], row["excluded_by"]) for row in Manifest(dataset).rows()}
    assert splits[first["source_url"]] == ("excluded", "mine: composition chopin:op9-1")
    assert splits[second["source_url"]] == (second["split"], "")
    assert splits[third["source_url"]] == (third["split"], "")
    version = Manifest(dataset).versions()[-1]
    assert version.facts["exclusions"]["mine"]["num_compositions"] == 1
    assert version.facts["config"]["release"]["exclude"] == ["mine.json"]
    assert str(tmp_path) not in version.facts_json + (dataset / "CARD.md").read_text()
    assert notes_in(dataset / first["midi_path"]).pitch.size > 0


def test_the_folder_says_what_it_holds_and_the_command_says_it_of_any_version(build, source, tmp_path):
    dataset = tmp_path / "dataset"
    build(source, dataset, name="spring")
    said = (dataset / "CARD.md").read_text()
    assert "version 1, called spring" in said
    assert said == CliRunner().invoke(cli, ["card", str(dataset)]).output
    build(source, dataset, settings=("segment.min_segment_s=9",))
    assert CliRunner().invoke(cli, ["card", str(dataset), "--version", "spring"]).output == said


def test_a_build_keeps_the_settings_of_the_last_one_and_says_so(build, source, tmp_path, capsys):
    dataset = tmp_path / "dataset"
    build(source, dataset, settings=("segment.min_segment_s=5", 'release.exclude=["asap-compositions"]'))
    capsys.readouterr()
    assert not build(source, dataset, settings=()).is_new_version
    said = capsys.readouterr().err
    assert "settings as last time" in said
    assert 'release.exclude = ["asap-compositions"]' in said
    assert build(source, dataset, settings=("segment.min_segment_s=5",), config_path=Path("defaults")).is_new_version


def test_a_setting_of_an_older_version_does_not_stop_a_build(build, source, tmp_path, capsys):
    dataset = tmp_path / "dataset"
    build(source, dataset)
    own = dataset / "dataset.toml"
    own.write_text(own.read_text() + "\n[gone]\nkey = 1\n")
    assert not build(source, dataset, settings=()).is_new_version
    assert "gone is of an older version and does nothing any more" in capsys.readouterr().err
