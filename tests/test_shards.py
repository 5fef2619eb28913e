import json
import time

import numpy as np
import pytest
from fake_shards import ENCODERS, fake_clip

from openmocha.training.shards import (
    bind_to_networks,
    encode_clips,
    finished_shards,
    manifest_path,
    read_empty_prompt,
    read_manifest,
    read_record,
    record_path,
    write_empty_prompt,
    write_shard,
)


def read_all(path):
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    source = ArrayRecordDataSource([str(record_path(path))])
    return [read_record(source[i]) for i in range(len(source))]


def test_record_holds_what_the_encoders_made(tmp_path):
    clips = [fake_clip(seed, "close-up", 3, 2) for seed in range(5)]
    assert write_shard(tmp_path / "a", clips, ENCODERS, chunk=2)
    records = read_all(tmp_path / "a")
    assert len(records) == 5
    for clip, record in zip(clips, records, strict=True):
        block = clip.crops[1, 4:8, 8:16, 24:32].reshape(-1, 3).mean(0) / 127.5 - 1
        assert np.allclose(record["latents"][1, :3, 1, 1, 3], block, atol=1e-2)
        assert record["latents"].shape == (3, 4, 2, 4, 4)
        assert record["start"].tolist() == list(clip.starts)
        assert (record["mouth_cells"] == clip.mouth_cells).all()
        assert record["speech_tokens"][:, 0, 1].tolist() == list(range(clip.num_frames))
        # Captions are stored without the padding of their batch.
        assert len(record["text_tokens"]) == len(clip.caption) + 1


def test_film_without_speech_stores_none():
    (record,) = encode_clips([fake_clip(1, "text", 2, 1)], ENCODERS)
    assert "speech_tokens" not in read_record(record)


def test_manifest_has_one_row_per_record(tmp_path):
    write_shard(tmp_path / "a", [fake_clip(s, "close-up", 3, 2) for s in (5, 6)], ENCODERS)
    write_shard(tmp_path / "b", [fake_clip(s, "text", 1, 16) for s in (7,)], ENCODERS)
    rows = read_manifest(tmp_path, finished_shards(tmp_path)).to_pylist()
    assert [(r["shard"], r["index"], r["source"], r["seed"]) for r in rows] == [
        ("a", 0, "close-up", 5),
        ("a", 1, "close-up", 6),
        ("b", 0, "text", 7),
    ]
    assert [(r["crops"], r["latent_frames"], r["height"], r["width"]) for r in rows] == [
        (3, 2, 32, 32),
        (3, 2, 32, 32),
        (1, 16, 32, 32),
    ]
    assert rows[0]["caption"] == "film 5" and rows[0]["num_frames"] == 64


def test_shard_that_breaks_off_is_not_there_and_is_written_again(tmp_path):
    def broken():
        yield fake_clip(0, "text", 1, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "a", broken(), ENCODERS, chunk=1)
    assert finished_shards(tmp_path) == []
    assert write_shard(tmp_path / "a", [fake_clip(3, "text", 1, 1)], ENCODERS)
    assert finished_shards(tmp_path) == ["a"] and len(read_all(tmp_path / "a")) == 1


def test_finished_shard_is_skipped(tmp_path):
    write_shard(tmp_path / "a", [fake_clip(3, "text", 1, 1)], ENCODERS)
    before = manifest_path(tmp_path / "a").stat().st_mtime_ns
    time.sleep(0.01)

    def never():
        raise AssertionError("a finished shard was drawn again")
        yield

    assert not write_shard(tmp_path / "a", never(), ENCODERS)
    assert manifest_path(tmp_path / "a").stat().st_mtime_ns == before


def test_no_shards_is_said_plainly(tmp_path):
    with pytest.raises(ValueError, match="no finished shard"):
        read_manifest(tmp_path, [])


def test_empty_prompt_round_trip(tmp_path):
    write_empty_prompt(tmp_path / "new", ENCODERS.text)
    (tokens,) = read_empty_prompt(tmp_path / "new")
    assert tokens.shape == (1, 3)


def test_shards_of_other_encoders_are_refused(tmp_path):
    bind_to_networks(tmp_path / "s", {"vae": "abc"})
    bind_to_networks(tmp_path / "s", {"vae": "abc"})
    with pytest.raises(ValueError, match="other networks"):
        bind_to_networks(tmp_path / "s", {"vae": "abd"})
    assert json.loads((tmp_path / "s" / "encoders.json").read_text()) == {"vae": "abc"}
