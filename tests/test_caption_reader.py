"""The caption reader: its questions and answers, its slots before the tokens, what crops hide."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_shards import ENCODERS, fake_clip
from tiny_model import tiny_pipeline, tiny_speech_encoder, tiny_vae

from openmocha.backbones.folder import load_paper
from openmocha.models.conditions import TIME_SPAN, PlaceEmbedding
from openmocha.models.config import toon, with_settings
from openmocha.models.text_encoder import TextEncoder
from openmocha.toon import caption_reader
from openmocha.toon.caption_reader import (
    CLIP_QUESTIONS,
    NUM_SLOTS,
    PERSON_QUESTIONS,
    STORY_QUESTIONS,
    CaptionReader,
    CaptionReaderConfig,
    story_answers,
)
from openmocha.toon.stories import make_story
from openmocha.training import caption_reader as training
from openmocha.training.run_encoders import check_shards, fingerprints, text_encoder
from openmocha.training.shards import (
    Encoders,
    bind_to_networks,
    encode_clips,
    read_record,
    shown_text,
)

TINY = CaptionReaderConfig(width=24, layers=1, heads=2)


def test_answers_are_those_of_the_story():
    story = make_story(5, "dialogue")
    answers = story_answers(story)
    for number, clip in enumerate(story.clips):
        person = story.characters[clip.cast[0].character]
        for name in ("species", "skin", "clothes_colour", "accessory"):
            words = PERSON_QUESTIONS[name]
            assert words[answers[f"person {name}"][2 * number]] == getattr(person, name)
        assert CLIP_QUESTIONS["shot"][answers["clip shot"][number]] == clip.shot
        assert CLIP_QUESTIONS["camera"][answers["clip camera"][number]] == clip.camera
    assert STORY_QUESTIONS["place"][answers["story place"][0]] == story.place
    assert answers["person present"].tolist() == [1, 0, 1, 0]
    assert answers["clip speaker"].tolist() == [1, 1]
    alone = story_answers(make_story(5, "close-up"))
    assert alone["person present"].tolist() == [1, 0, 0, 0]
    assert alone["clip shown"].tolist() == [1, 0] and alone["clip shot"][1] == -1


def test_every_question_is_answered_by_a_slot_of_its_kind():
    reader = CaptionReader(TINY)
    logits = reader.answers(reader(torch.randn(2, 5, 384), torch.ones(2, 5).bool()))
    assert set(logits) == set(story_answers(make_story(0, "medium")))
    for kind, slots, questions in caption_reader.KINDS:
        for name, words in questions.items():
            assert logits[f"{kind} {name}"].shape == (2, slots, len(words))


@pytest.mark.parametrize("heads", [2, 3])  # torch has a faster way for even numbers
def test_slots_do_not_hear_padding(heads):
    torch.manual_seed(0)
    reader = CaptionReader(replace(TINY, heads=heads)).eval()
    states = torch.randn(1, 40, 384)
    alone = reader(states[:, :9], torch.ones(1, 9).bool())
    padded = reader(states, torch.arange(40)[None] < 9)
    assert torch.allclose(alone, padded, atol=1e-5)
    assert not torch.allclose(alone, reader(states, torch.arange(40)[None] < 10), atol=1e-3)


def test_slots_come_before_the_tokens(tmp_path):
    CaptionReader(TINY).save_pretrained(tmp_path)
    plain = TextEncoder.from_pretrained()
    reading = TextEncoder(plain.tokenizer, plain.model, CaptionReader.from_pretrained(tmp_path))
    prompts = ["A fox speaks.", "A close-up of an old man in a red coat, speaking."]
    (states, mask), (slotted, slotted_mask) = plain.encode(prompts), reading.encode(prompts)
    assert slotted.shape[1] == NUM_SLOTS + states.shape[1] and slotted_mask[:, :NUM_SLOTS].all()
    assert torch.equal(slotted[:, NUM_SLOTS:], states)
    assert torch.equal(slotted_mask[:, NUM_SLOTS:], mask)
    alone, _ = reading.without_reader().encode(prompts)
    assert torch.equal(alone, states)
    assert plain.slot_clips == () and len(reading.slot_clips) == NUM_SLOTS


@pytest.mark.parametrize(
    ("start", "length", "cut", "hidden"),
    [(0, 4, 16, 1), (4, 4, 16, 0), (3, 1, 16, 1), (4, 1, 16, 0), (3, 2, 16, None)]
    # A curated film may cut within a latent frame, which then shows both.
    + [(3, 1, 15, None), (4, 1, 15, 0), (2, 1, 15, 1), (4, 1, 17, None), (3, 1, 17, 1)],
)
def test_a_crop_does_not_know_the_clip_that_it_does_not_show(start, length, cut, hidden):
    class Slotted:
        slot_clips = (0, 1, -1)
        encode = staticmethod(ENCODERS.text.encode)

    clip = fake_clip(1, "dialogue", 1, 8)
    encoders = Encoders(ENCODERS.vae, ENCODERS.speech, Slotted())
    plain = read_record(encode_clips([clip], encoders)[0])
    record = read_record(encode_clips([replace(clip, cut_frame=cut)], encoders)[0])
    kept = [i for i in range(len(plain["text_tokens"])) if i != hidden]
    assert np.array_equal(shown_text(record, start, length)[0], plain["text_tokens"][kept])
    assert np.array_equal(shown_text(plain, start, length)[0], plain["text_tokens"])
    slots = [i for i in range(3) if i != hidden]
    slots_alone = shown_text(record, start, length, words=False)[0]
    assert np.array_equal(slots_alone, plain["text_tokens"][slots])


def test_a_reader_of_other_questions_is_refused(tmp_path):
    reader = CaptionReader(TINY)
    reader.heads["story"] = torch.nn.Linear(384, 3)
    reader.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="questions"):
        CaptionReader.from_pretrained(tmp_path)


def test_a_model_folder_keeps_its_reader(tmp_path):
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path, torch.float32)
    assert load_paper(tmp_path, "m").text_encoder.reader is None
    pipeline.backbone.text_encoder.reader = CaptionReader(TINY).eval()
    pipeline.save_pretrained(tmp_path, torch.float32)
    (states, _), (again, _) = (
        backbone.text_encoder.encode(["A fox."])
        for backbone in (pipeline.backbone, load_paper(tmp_path, "m"))
    )
    assert torch.allclose(states, again, atol=1e-5) and states.shape[1] > NUM_SLOTS


def test_new_captions_take_the_places_of_old_ones(monkeypatch):
    monkeypatch.setattr(training, "POOL_SIZE", 2 * training.FRESH)
    batches = training.batches(TextEncoder.from_pretrained(), seed=0)
    first, *_, last = (next(batches) for _ in range(8))
    sizes = {training.BATCH_SIZE, training.BATCH_SIZE // 2}
    assert {len(first), len(last)} <= sizes
    assert not {id(lesson) for lesson in first} & {id(lesson) for lesson in last}


def test_shards_of_another_reader_are_refused(tmp_path):
    tiny_vae().save_pretrained(tmp_path / "video_vae" / "final")
    tiny_speech_encoder().save_pretrained(tmp_path / "speech_encoder" / "final")
    bind_to_networks(tmp_path / "shards", fingerprints(tmp_path))
    check_shards(tmp_path)
    CaptionReader(TINY).save_pretrained(tmp_path / "caption_reader" / "final")
    with pytest.raises(ValueError, match="another caption_reader"):
        check_shards(tmp_path)
    assert text_encoder(tmp_path).slot_clips


def test_it_learns_to_read():
    """A few seconds of training tell one clip from two, and women from men."""
    torch.manual_seed(0)
    reader = CaptionReader(CaptionReaderConfig(width=64, layers=1, heads=2))
    encoder = TextEncoder.from_pretrained()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    sources = ("dialogue", "close-up")
    lessons, unseen = (
        training.lessons(encoder, [make_story(i, sources[i % 2], split) for i in range(96)])
        for split in ("train", "test")
    )
    before = training.accuracy(reader, unseen)
    for step in range(60):
        loss, _ = training.loss_of(reader, lessons[16 * (step % 6) :][:16])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = training.accuracy(reader, unseen)
    assert after["clip shown"] > 0.95 > before["clip shown"]
    assert after["person gender"] > 0.7 > before["person gender"]


def test_time_is_told_where_it_is_asked_for():
    torch.manual_seed(0)
    timed, plain = PlaceEmbedding(8, times=True), PlaceEmbedding(8)
    places = timed(TIME_SPAN + 2, 2, 3)
    assert places.shape == (1, TIME_SPAN + 2, 6, 8) and plain(5, 2, 3).shape == (1, 1, 6, 8)
    assert not torch.allclose(places[0, 0], places[0, 1])
    assert torch.equal(places[0, TIME_SPAN - 1], places[0, -1])
    with torch.no_grad():
        timed.linear.weight[:, 16:] = 0
        plain.linear.weight.copy_(timed.linear.weight[:, :16])
        plain.linear.bias.copy_(timed.linear.bias)
    assert torch.allclose(timed(4, 2, 3), plain(4, 2, 3).expand(1, 4, 6, 8), atol=1e-6)
    with pytest.raises(ValueError, match="set both"):
        with_settings(toon(), embed_places=False, embed_times=True)
