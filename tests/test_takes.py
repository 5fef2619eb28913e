"""A take per clip of a script: where they cut, what each is told, what each goes on from."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from openmocha import media
from openmocha.backbones.backbone import Conditions
from openmocha.evaluation.mochabench import read_benchmark
from openmocha.filming import denoise
from openmocha.prompt import Character, Clip, Script, parse_prompt
from openmocha.rewording import clip_alone
from openmocha.takes import GAP_S, takes_of
from openmocha.toon.wording import LIGHTING, LIGHTS

SHARED = Path(os.environ.get("OPENMOCHA_SHARED", Path(__file__).parents[2] / "shared"))
PEOPLE = (
    Character("Person1", "A young woman with long black hair, wearing a yellow dress"),
    Character("Person2", "an elderly man"),
)


def voice(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return (0.3 * rng.standard_normal(round(seconds * 16_000))).clip(-1, 1).astype(np.float32)


def script_of(*texts):
    return Script(PEOPLE, tuple(Clip(text) for text in texts))


def test_a_clip_alone_describes_whom_it_shows():
    script = script_of(
        "A close-up of Person1 in a park. Person1 nods; then Person2's dog barks at Person1.",
        "Person2 answers.",
    )
    assert clip_alone(script, 0) == (
        "A close-up of a young woman with long black hair, wearing a yellow dress, in a park. "
        "The young woman nods; then an elderly man's dog barks at the young woman."
    )
    assert clip_alone(script, 1) == "An elderly man answers."


def test_a_clip_alone_whatever_its_description_looks_like():
    people = (
        Character("Person1", "A woman(Person1) in an apron. Her face is calm. She has a scar."),
        Character("Person2", "A man (Person2) standing beside Person1."),
    )
    script = Script(people, (Clip("Person2 looks at Person1."), Clip("Person1 stands in a shop.")))
    assert clip_alone(script, 0) == (
        "A man standing beside another person looks at a woman in an apron. "
        "Her face is calm. She has a scar."
    )
    assert clip_alone(script, 1) == (
        "A woman in an apron stands in a shop. Her face is calm. She has a scar."
    )


def test_a_clip_alone_is_set_where_an_earlier_one_says():
    script = script_of(
        "A close-up of Person1. The background is a red wall. It rains.",
        "Person2 nods. The setting is the same as in the first clip. It rains.",
        "Person1 laughs.",
        "Person2 laughs. Behind is a green wall.",
    )
    where = "The background is a red wall."
    assert clip_alone(script, 0).endswith("dress. The background is a red wall. It rains.")
    assert clip_alone(script, 1) == f"An elderly man nods. It rains. {where}"
    assert clip_alone(script, 2).endswith(f"dress, laughs. {where}")
    assert clip_alone(script, 3) == "An elderly man laughs. Behind is a green wall."


def test_a_clip_alone_is_in_the_light_that_an_earlier_one_says():
    script = script_of(
        "A close-up of Person1 with light skin. The background is a bar. The lighting is warm.",
        "Person2 nods in daylight, before Person1. It is lit by a lamp. Person2 nods.",
        "Person1 laughs. The lighting is the same.",
        "Person1 sleeps, bathed in warm light before a red background.",
        "Person2 nods.",
    )
    bar, lamp = "The background is a bar.", "It is lit by a lamp."
    assert clip_alone(script, 0).endswith(f"light skin. {bar} The lighting is warm.")
    assert clip_alone(script, 1).endswith(f"{lamp} The elderly man nods. {bar}")
    assert clip_alone(script, 2).endswith(f"laughs. {bar} {lamp}")
    # who is seen in one clip is not seen in the next, and where they were the old wall is not
    assert clip_alone(script, 4) == "An elderly man nods."


@pytest.mark.parametrize("light", [w for words in LIGHTS.values() for w in words])
@pytest.mark.parametrize("sentence", LIGHTING)
def test_every_light_of_toon_is_carried_on(light, sentence):
    told = sentence.format(light=light)
    assert clip_alone(script_of(f"Person1 nods. {told}", "Person2 nods."), 1).endswith(told)


@pytest.mark.parametrize(
    "told",
    [
        "She speaks with a slight smile.", "He holds a lit cigar.", "She is lighting a candle.",
        "He wears a soft light blue sweater.", "She laughs with delight.", "He has light hair.",
        "She is bathed in sweat.", "He is a flight attendant.",
    ],
)  # fmt: skip
def test_what_is_no_light_stays_in_its_clip(told):
    script = script_of(f"Person1 nods. {told}", "Person2 nods.")
    assert clip_alone(script, 1) == "An elderly man nods."


@pytest.mark.skipif(not (SHARED / "mochabench").is_dir(), reason="needs ../shared/mochabench")
def test_clips_of_the_benchmark_alone_have_no_tags_left():
    items = read_benchmark(SHARED / "mochabench/benchmark")
    scripts = [parse_prompt(item.prompt) for item in items]
    scripts = [script for script in scripts if len(script.clips) > 1]
    assert len(scripts) >= 15
    for script in scripts:
        for number, clip in enumerate(script.clips):
            alone = clip_alone(script, number)
            assert "Person" not in alone and "(" not in alone.replace("(", "", clip.text.count("("))
            assert len(alone) > len(clip.text)


def test_takes_cut_amid_the_pauses_and_go_on_from_the_same_first_sentence():
    script = script_of(
        "A close-up of Person1 in a park. She smiles.", "A close-up of Person2.",
        "A Close-up of Person1, in a park. She nods.", "A close-up of Person1 in an office.",
        "A medium shot of Person2, who talks to Person1.", "A close up of Person2",
    )  # fmt: skip
    speeches = [voice(1.0)] * 6  # 7 s with their pauses of 0.2 s
    takes = takes_of(script, speeches, 168, 24, 4)
    ends = np.cumsum([take.num_frames for take in takes])
    middles = [round((1.2 * (k + 1) - 0.1) * 24 / 4) * 4 for k in range(5)]
    assert ends.tolist() == [*middles, 168]
    assert [take.after for take in takes] == [None, None, 0, None, None, 1]
    assert [take.words for take in takes] == [clip_alone(script, number) for number in range(6)]
    takes_of(script, [voice(media.MIN_SPEECH_S)] * 6, 56, 24, 4)  # the shortest there are


def test_another_speaker_in_the_same_words_is_another_shot():
    clips = tuple(Clip("A close-up.", speaker=tag) for tag in ("Person1", "Person2", "Person1"))
    takes = takes_of(Script(PEOPLE, clips), [voice(1.0)] * 3, 84, 24, 4)
    assert [take.after for take in takes] == [None, None, 0]


def test_two_people_in_one_shot_take_turns_without_a_cut():
    words = "A medium shot of Person1 and Person2 in a park"
    clips = tuple(Clip(words, speaker=tag) for tag in ("Person1", "Person2"))
    clips += (Clip(f"{words}. Person1 laughs."), Clip("A close-up of Person2.", "Person1"))
    takes = takes_of(Script(PEOPLE, clips), [voice(1.0)] * 4, 112, 24, 4)
    assert [take.after for take in takes] == [None, 0, 1, None]
    assert [take.who for take in takes] == [("Person1", "Person2")] * 3 + [("Person2",)]
    assert [take.speaker for take in takes] == [0, 1, 0, None]
    assert takes[0].words.endswith("in a park. The young woman speaks.")
    script = script_of("Person1 sits. Behind is a red wall.", "Person1 and Person2 talk")
    script = replace(script, clips=(script.clips[0], replace(script.clips[1], speaker="Person2")))
    assert clip_alone(script, 1).endswith("Behind is a red wall. The elderly man speaks.")
    assert takes[1].words.endswith("in a park. The elderly man speaks.")
    assert takes[3].words == "A close-up of an elderly man."  # whoever is heard
    assert takes[2].each == (
        "A medium shot of a young woman with long black hair, wearing a yellow dress, in a park. "
        "The young woman laughs.",
        "A medium shot of an elderly man in a park.",
    )
    assert not any(takes[3].each)


def test_in_a_shot_that_goes_on_a_turn_begins_before_the_voice(monkeypatch):
    monkeypatch.setattr("openmocha.takes.starts_of_turns", lambda speech, number: [0.3, 0.75])
    both = "Person1 and Person2 sit in a bar."
    clips = (Clip(both), Clip(f"{both} Person2 nods."), Clip("A close-up of Person1."))
    takes = takes_of(Script(PEOPLE, clips), [voice(1.0)], 24, 24, 4)
    # 7.2 frames, no later; 18 frames and two more, before the cut
    assert [take.num_frames for take in takes] == [4, 16, 4]


@pytest.fixture
def files(tmp_path):
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    paths = []
    for number, seconds in enumerate((1.0, 0.7, 0.6)):
        media.write_film(tmp_path / f"{number}.mp4", np.tile(frames, (6, 1, 1, 1)), voice(seconds))
        paths.append(tmp_path / f"{number}.mp4")
    return paths


def dialogue(files: list[Path]) -> Script:
    texts = ("A close-up of Person1.", "A close-up of Person2.", "A close-up of Person1.")
    clips = (Clip(text, speech=file) for text, file in zip(texts, files, strict=True))
    return Script(PEOPLE, tuple(clips))


def test_a_dialogue_is_its_takes_by_hand(tiny, files, monkeypatch):
    monkeypatch.setattr(tiny.backbone, "dtype", torch.float32)
    script = dialogue(files)
    film = tiny(script, seed=4)
    speeches = [media.load_speech(file) for file in files]
    joined = media.join_speeches(speeches, GAP_S)
    takes = takes_of(script, speeches, len(film.frames), 24, 4)
    assert len(film.settings["takes"]) == 3 and (film.speech[: len(joined)] == joined).all()
    backbone, sampling = tiny.backbone, tiny.sampling
    first, second, third = (take.num_frames // 4 for take in takes)
    shown = []
    with torch.inference_mode():
        tokens = backbone.encode_speech(joined, len(film.frames))
        generator = torch.Generator().manual_seed(4)

        def take(words, heard, num_latents, known=None):
            speech, windows = backbone.heard(heard, 0, num_latents)
            text, no_text = backbone.encode_text(words), backbone.encode_text("")
            noise = torch.randn((1, 16, num_latents, 8, 8), generator=generator)
            conditions = Conditions(text, no_text, speech, windows, known)
            return denoise(backbone, noise, conditions, sampling)

        one = take(takes[0].words, tokens[:, : 4 * first], first)
        two = take(takes[1].words, tokens[:, 4 * first : 4 * (first + second)], second)
        heard = torch.cat([tokens[:, 4 * (first - 2) : 4 * first], tokens[:, -4 * third :]], dim=1)
        three = take(takes[2].words, heard, third + 2, one[:, :, -2:])
        shown = [backbone.decode(one), backbone.decode(two), backbone.decode(three)[:, 8:]]
    pixels = torch.cat(shown, dim=1)[0].clamp(-1, 1)
    expected = ((pixels + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(film.frames - expected).max() <= 1


def test_together_is_one_take_with_the_papers_template(tiny, files, monkeypatch):
    script = dialogue(files[:2] + files[:1])
    told = []
    encode = tiny.backbone.encode_text
    monkeypatch.setattr(
        tiny.backbone, "encode_text", lambda words: (told.append(words), encode(words))[1]
    )
    apart = tiny(script, seed=4, num_inference_steps=1)
    assert told == ["", *(clip_alone(script, number) for number in range(3))]
    told.clear()
    together = tiny(script, seed=4, num_inference_steps=1, together=True)
    assert told == ["", script.prompt]
    assert apart.frames.shape == together.frames.shape
    assert [take["after"] for take in apart.settings["takes"]] == [None, None, 0]


def test_one_recording_is_parted_where_the_voice_changes(tiny, monkeypatch):
    monkeypatch.setattr("openmocha.takes.starts_of_turns", lambda speech, number: [0.3, 0.75])
    script = script_of("A close-up of Person1.", "A close-up of Person2.", "A shot of Person1.")
    film = tiny(script, voice(1.0), seed=4, num_inference_steps=1)
    # the voice is heard two frames earlier: 7.2 + 2 and 18 + 2 frames, in whole latent frames
    assert [take["num_frames"] for take in film.settings["takes"]] == [12, 8, 4]
    together = tiny(script, voice(1.0), seed=4, num_inference_steps=1, together=True)
    assert len(together.settings["takes"]) == 1


def test_one_recording_without_turns_is_one_take(tiny, monkeypatch):
    script = script_of("A close-up of Person1.", "A close-up of Person2.", "A shot of Person1.")
    with pytest.warns(media.SpeechWarning, match="one take: 3 turns were asked for"):
        film = tiny(script, voice(1.0), seed=4, num_inference_steps=1)
    assert len(film.settings["takes"]) == 1
    monkeypatch.setattr("openmocha.takes.starts_of_turns", lambda speech, number: [0.3, 0.35])
    with pytest.warns(media.SpeechWarning, match="one take: .* too short"):
        tiny(script, voice(1.0), seed=4, num_inference_steps=1)


def test_an_image_begins_the_first_take_only(tiny, files):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    script = dialogue(files)
    plain, begun = (tiny(script, image=one, seed=4).frames for one in (None, image))
    first, second, _ = (take["num_frames"] for take in tiny(script, seed=4).settings["takes"])
    changed = (plain != begun).any(axis=(1, 2, 3))
    assert changed[:first].any() and not changed[first : first + second].any()
    assert changed[first + second :].any()  # it goes on from the first


def test_a_take_longer_than_a_pass_that_goes_on(tiny, files):
    script = dialogue(files)
    tiny.sampling = tiny.sampling.with_given(num_frames=16)  # 4 latent frames a pass
    try:
        steps = []
        film = tiny.stream(script, seed=4, progress=lambda *step: steps.append(step))
        pieces = list(film.pieces)
    finally:
        tiny.sampling = tiny.sampling.with_given(num_frames=32)
    assert sum(map(len, pieces)) == film.num_frames
    assert steps[-1][0] == steps[-1][1] == len(steps) == 2 * len(pieces)
