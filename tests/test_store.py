"""Names and folders of models, and checksums that notice every change."""

import json
import shutil

import pytest

from openmocha.models import store
from openmocha.models.store import model_folder, verify, write_checksums


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "transformer" / "model.safetensors").write_bytes(bytes(range(200)))
    write_checksums(folder)
    return folder


def test_an_untouched_folder_passes(folder):
    verify(folder)
    assert model_folder(folder) == folder and model_folder(str(folder)) == folder


def test_one_changed_bit_is_noticed(folder):
    weights = folder / "transformer" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="model.safetensors was altered"):
        verify(folder)


def test_truncated_grown_and_missing_files_are_named(folder):
    weights = folder / "transformer" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="has 199 bytes, expected 200: it is truncated"):
        verify(folder)
    weights.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="has 201 bytes, expected 200: it is altered"):
        verify(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        verify(folder)


def test_files_that_the_list_does_not_know_are_refused(folder):
    (folder / "checksums.json").write_text("{}")
    with pytest.raises(ValueError, match="model_index.json is not in checksums.json"):
        verify(folder)
    write_checksums(folder)
    (folder / "vae").mkdir()
    (folder / "vae" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="vae/model.safetensors is not in checksums.json"):
        verify(folder)


def test_the_list_of_checksums_must_be_whole(folder):
    (folder / "checksums.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="not a list of checksums"):
        verify(folder)
    (folder / "checksums.json").unlink()
    with pytest.raises(FileNotFoundError, match="cannot be checked"):
        verify(folder)


def test_checksums_of_a_changed_folder_can_be_written_anew(folder):
    (folder / "transformer" / "model.safetensors").write_bytes(b"new")
    write_checksums(folder)
    verify(folder)
    assert set(json.loads((folder / "checksums.json").read_text())) == {
        "model_index.json",
        "transformer/model.safetensors",
    }


def test_a_judge_does_not_make_other_films(folder):
    before = store.identity(folder)
    (folder / "judge").mkdir()
    (folder / "judge" / "model.safetensors").write_bytes(b"seen")
    write_checksums(folder)
    assert store.identity(folder) == before is not None
    (folder / "transformer" / "model.safetensors").write_bytes(b"changed")
    write_checksums(folder)
    assert store.identity(folder) != before
    (folder / store.CHECKSUMS).unlink()
    assert store.identity(folder) is None


def test_unknown_names_suggest_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"unknown model 'tooon'; did you mean toon\? \(known: toon"
    ):
        model_folder("tooon")
    with pytest.raises(ValueError, match=r"unknown model 'mocha' \(known: toon"):
        model_folder("mocha")
    with pytest.raises(FileNotFoundError, match="no/such/folder does not exist"):
        model_folder("no/such/folder")


def test_a_folder_without_a_model_is_refused(folder):
    (folder / "model_index.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not complete: .*model_index.json is missing"):
        model_folder(folder)


def test_known_model_without_its_weights(tmp_path, monkeypatch, folder):
    lost = store.KnownModel("lost", tmp_path / "nothing", "MIT", "a test")
    monkeypatch.setattr(store, "KNOWN_MODELS", (lost,))
    with pytest.raises(FileNotFoundError, match="model lost is not complete"):
        model_folder("lost")
    shutil.copytree(folder, tmp_path / "nothing")
    assert model_folder("lost") == tmp_path / "nothing"


def test_settings_files_must_hold_their_keys(tmp_path):
    file = tmp_path / "a.json"
    store.write_json(file, {"steps": 3, "size": 4})
    assert store.read_json(file, ["steps"]) == {"steps": 3, "size": 4}
    with pytest.raises(ValueError, match="lacks shift"):
        store.read_json(file, ["steps", "shift"])
    file.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        store.read_json(file)
    file.write_text("[]")
    with pytest.raises(ValueError, match="lacks"):
        store.read_json(file)
