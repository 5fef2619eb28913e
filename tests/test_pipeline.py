"""The recipe: conditions, guidance, lengths, seeds, settings, model folders."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import tiny_transformer

from openmocha import media
from openmocha.backbones.backbone import Alone, Conditions, Told, mocha_passes
from openmocha.backbones.paper import stack_text
from openmocha.contact_sheet import write_png
from openmocha.filming import denoise, draw_noise, velocity_apart
from openmocha.media import read_film
from openmocha.pipeline import MoChaPipeline
from openmocha.prompt import Character, Clip, Script
from openmocha.rewording import PromptWarning
from openmocha.sampling import FEELINGS_BELOW, FastStep, Sampling
from openmocha.takes import Take

PROMPT = "A close-up of a woman with red hair. She speaks to the camera."


def voice(seconds=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (0.3 * rng.standard_normal(round(seconds * 16_000))).clip(-1, 1).astype(np.float32)


def test_same_seed_same_film_other_seed_prompt_or_speech_another(tiny):
    film = tiny(PROMPT, voice(), seed=3)
    assert film.frames.shape == (24, 64, 64, 3) and film.frames.std() > 5
    assert (tiny(PROMPT, voice(), seed=3).frames == film.frames).all()
    assert (tiny(PROMPT, voice(), seed=4).frames != film.frames).any()
    assert (tiny("A dog.", voice(), seed=3).frames != film.frames).any()
    assert (tiny(PROMPT, voice(seed=1), seed=3).frames != film.frames).any()
    assert (tiny(PROMPT, None, num_frames=24, seed=3).frames != film.frames).any()


def test_drawn_seed_is_reported_and_repeats_the_film(tiny):
    film = tiny(PROMPT, voice())
    again = tiny(PROMPT, voice(), seed=film.settings["seed"])
    assert (again.frames == film.frames).all()


def reference_latents(pipeline, noise, text, no_text, speech_tokens, sampling, calm):
    """A forward per condition and step, the formulas written out and no batch."""
    sigmas = torch.linspace(1, 0, sampling.num_inference_steps + 1)
    x = noise
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        null = pipeline.backbone.transformer(x, sigma[None], [no_text.text], None)
        with_text = pipeline.backbone.transformer(x, sigma[None], [text.text], None)
        full = with_text
        if speech_tokens is not None:
            full = pipeline.backbone.transformer(x, sigma[None], [text.text], speech_tokens)
        text_scale, speech_scale = sampling.text_guidance_scale, sampling.speech_guidance_scale
        v = null + text_scale * (with_text - null) + speech_scale * (full - with_text)
        if calm is not None and sigma < FEELINGS_BELOW:
            without = pipeline.backbone.transformer(x, sigma[None], [calm.text], None)
            v = v + (sampling.feeling_guidance_scale - 1) * (with_text - without)
        x = x + (following - sigma) * v
    return x


@pytest.mark.parametrize(
    ("with_speech", "scale", "feeling"),
    [(True, 3.0, 1.0), (True, 2.0, 1.0), (False, 3.0, 1.0), (True, 2.0, 4.0), (False, 3.0, 4.0)],
)
def test_batched_guidance_equals_one_forward_per_condition(tiny, with_speech, scale, feeling):
    tiny.to("cpu", torch.float32)
    sampling = tiny.sampling.with_given(
        num_inference_steps=3, text_guidance_scale=2.0, speech_guidance_scale=scale,
        feeling_guidance_scale=feeling,
    )  # fmt: skip
    with torch.inference_mode():
        words = (PROMPT, "", "A cat sits.")
        text, no_text, calm = (tiny.backbone.encode_text(one) for one in words)
        speech = tiny.backbone.encode_speech(voice(), 24) if with_speech else None
        noise = draw_noise(tiny.backbone, 6, sampling, torch.Generator().manual_seed(0))
        conditions = Conditions(text, no_text, speech, calm=calm)
        latents = denoise(tiny.backbone, noise, conditions, sampling)
        expected = reference_latents(tiny, noise, text, no_text, speech, sampling, calm)
    assert latents.shape == (1, 16, 6, 8, 8)
    assert (latents - noise).abs().mean() > 0.1
    assert (latents - expected).abs().max() < 1e-4 * expected.abs().max()
    tiny.to("cpu")


def test_guidance_ends_at_a_noise_level_and_costs_nothing_below(tiny, monkeypatch):
    forward, batches = tiny.backbone.transformer.forward, []
    monkeypatch.setattr(
        tiny.backbone.transformer,
        "forward",
        lambda latents, *rest: (batches.append(len(latents)), forward(latents, *rest))[1],
    )
    whole = tiny(PROMPT, voice(1.0), num_inference_steps=4, seed=0)
    assert batches == [3, 3, 3, 3]
    batches.clear()
    monkeypatch.setattr(tiny, "sampling", replace(tiny.sampling, guided_to=0.5))
    half = tiny(PROMPT, voice(1.0), num_inference_steps=4, seed=0)
    assert batches == [3, 3, 3, 1]  # levels 1, 0.75, 0.5, 0.25
    assert not np.array_equal(whole.frames, half.frames)
    with pytest.raises(ValueError, match="expected a noise level"):
        replace(tiny.sampling, guided_to=1.5)


@pytest.fixture
def with_student(tiny, monkeypatch):
    """The tiny model, with another network for the first of three fast steps."""
    student = tiny_transformer()
    for parameter in student.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    monkeypatch.setattr(tiny.backbone, "guided_transformer", student.eval())
    steps = (FastStep(1.0, None), FastStep(0.75, 4.5), FastStep(0.4, 1.0))
    both = replace(tiny.sampling, num_inference_steps=8, fast_steps=steps, guided_to=0.6)
    monkeypatch.setattr(tiny, "sampling", both)
    return tiny


def test_fast_is_the_student_then_one_scale_then_none(with_student, monkeypatch):
    calls = []
    for name in ("transformer", "guided_transformer"):
        network = getattr(with_student.backbone, name)

        def told(latents, sigma, *rest, name=name, forward=network.forward):
            calls.append((name, len(latents), float(sigma[0, 0])))
            return forward(latents, sigma, *rest)

        monkeypatch.setattr(network, "forward", told)
    fast = with_student(PROMPT, voice(), seed=0, quality="fast")
    assert [call[:2] for call in calls] == [
        ("guided_transformer", 1), ("transformer", 2), ("transformer", 1)
    ]  # fmt: skip
    assert [call[2] for call in calls] == pytest.approx([1.0, 0.75, 0.4])
    assert fast.settings["quality"] == "fast" and fast.settings["num_inference_steps"] == 3
    # of the other quality's guidance nothing is said: it was not used
    assert fast.settings["fast_steps"] and "text_guidance_scale" not in fast.settings
    calls.clear()
    high = with_student(PROMPT, voice(), seed=0, quality="high")
    assert [(name, passes) for name, passes, _ in calls] == (
        [("transformer", 3)] * 4 + [("transformer", 1)] * 4
    )
    assert high.settings["quality"] == "high"
    assert "text_guidance_scale" in high.settings and "fast_steps" not in high.settings
    assert not np.array_equal(fast.frames, high.frames)


def test_one_scale_leads_away_from_neither_words_nor_speech(with_student):
    fast = with_student.sampling.of_quality("fast")
    conditions = Conditions("words", "none", torch.ones(1), calm="calm")

    def passes(step: int):
        found = mocha_passes(conditions, fast.at(step, fast.fast_steps[step].sigma))
        return [(weight, words, float(heard)) for weight, words, heard in found]

    assert passes(1) == [(-3.5, "none", 0), (4.5, "words", 1)]
    assert passes(2) == [(1, "words", 1)]


def test_fast_steps_fall_from_noise_and_need_their_network(with_student, tmp_path):
    def steps(*levels: float, scale: float = 1.0):
        return replace(with_student.sampling, fast_steps=tuple(FastStep(s, scale) for s in levels))

    fast = steps(1.0, 0.5).of_quality("fast")
    assert fast.num_inference_steps == 2
    with pytest.raises(ValueError, match="ask those of the model"):
        fast.of_quality("high")
    for levels in ((0.9, 0.5), (1.0, 1.0), (1.0, 0.4, 0.5), (1.0, 0.0)):
        with pytest.raises(ValueError, match="expected 1, then lower levels above 0"):
            steps(*levels)
    with pytest.raises(ValueError, match="a fast step's scale is 500"):
        steps(1.0, scale=500)
    with_student.backbone.guided_transformer = None
    with_student.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no transformer_guided/; restore it"):
        MoChaPipeline.from_pretrained(tmp_path)


def test_a_folder_keeps_no_settings_of_one_film(with_student, tmp_path):
    with_student.sampling.of_quality("fast").to_file(tmp_path / "settings.json")
    again = Sampling.from_file(tmp_path / "settings.json")
    assert again.quality == "high" and again.fast_steps == with_student.sampling.fast_steps


def test_fast_is_the_quality_where_nothing_else_is_chosen(with_student, tiny_folder):
    def quality(**chosen) -> str:
        return with_student(PROMPT, voice(), seed=0, **chosen).settings["quality"]

    assert quality() == quality(quality=None, height=80) == "fast"
    assert quality(num_inference_steps=2) == quality(negative_prompt="blurred") == "high"
    assert quality(speech_guidance_scale=1.0) == quality(quality="high") == "high"
    plain = MoChaPipeline.from_pretrained(tiny_folder)
    assert plain(PROMPT, voice(), seed=0).settings["quality"] == "high"


def test_what_fast_settles_cannot_be_chosen(with_student, tiny_folder):
    with pytest.raises(ValueError, match="text_guidance_scale and negative_prompt cannot be chos"):
        with_student(PROMPT, quality="fast", text_guidance_scale=2, negative_prompt="blurred")
    with pytest.raises(ValueError, match="expected fast or high"):
        with_student(PROMPT, quality="best")
    with pytest.raises(ValueError, match='has no quality "fast"'):
        MoChaPipeline.from_pretrained(tiny_folder)(PROMPT, voice(), quality="fast")


def test_a_folder_keeps_the_student(with_student, tmp_path):
    with_student.save_pretrained(tmp_path, torch.float32)
    again = MoChaPipeline.from_pretrained(tmp_path)
    film = with_student(PROMPT, voice(), seed=0, quality="fast")
    assert np.array_equal(film.frames, again(PROMPT, voice(), seed=0, quality="fast").frames)


@pytest.mark.parametrize(
    ("guided_to", "feelings_to", "sigma", "scales"),
    [
        (0.3, 1.0, 0.9, (3, 6, 1)), (0.3, 1.0, 0.75, (3, 6, 4)), (0.3, 1.0, 0.2, (1, 1, 1)),
        (0.95, 1.0, 0.9, (1, 1, 1)), (0.7, 0.5, 0.6, (1, 1, 4)), (0.7, 0.5, 0.4, (1, 1, 1)),
    ],
)  # fmt: skip
def test_feelings_are_guided_in_the_middle(guided_to, feelings_to, sigma, scales):
    given = Sampling(
        text_guidance_scale=3, speech_guidance_scale=6, feeling_guidance_scale=4,
        guided_to=guided_to, feelings_to=feelings_to,
    ).at(0, sigma)  # fmt: skip
    found = (given.text_guidance_scale, given.speech_guidance_scale, given.feeling_guidance_scale)
    assert found == scales


def test_where_words_alone_have_no_weight_feelings_pull_between_spoken_words():
    conditions = Conditions("words", "none", torch.ones(1), calm="calm")

    def passes(text: float, speech: float, feeling: float):
        sampling = Sampling(
            text_guidance_scale=text, speech_guidance_scale=speech, feeling_guidance_scale=feeling
        )
        return [(w, words, float(heard)) for w, words, heard in mocha_passes(conditions, sampling)]

    assert passes(1, 1, 1) == [(1, "words", 1)]
    assert passes(1, 1, 4) == [(4, "words", 1), (-3, "calm", 1)]
    assert passes(3, 6, 4) == [(-2, "none", 0), (6, "words", 1), (-3, "calm", 0)]
    assert passes(3, 5, 4) == [
        (-2, "none", 0), (1, "words", 0), (5, "words", 1), (-3, "calm", 0)
    ]  # fmt: skip


def test_what_is_told_without_feelings_reaches_the_network(tiny, monkeypatch):
    monkeypatch.setattr(
        tiny.backbone, "understood", lambda takes, *known: [Told(takes[0].words, "A calm one.")]
    )
    monkeypatch.setattr(tiny, "sampling", replace(tiny.sampling, retell=True))
    films = [
        tiny(PROMPT, voice(0.5), seed=0, num_inference_steps=4, feeling_guidance_scale=scale)
        for scale in (1.0, 4.0)
    ]
    assert not np.array_equal(films[0].frames, films[1].frames)


class Echo:
    """A model whose velocity is what it is told, plus what it hears."""

    def velocity(self, latents, level, conditions, sampling):
        heard = 0.0 if conditions.speech is None else float(conditions.speech.mean())
        feelings = 0.0 if conditions.calm is None else 100.0
        return torch.full_like(latents, conditions.words + heard + feelings)


def test_each_of_two_people_is_told_apart_in_their_part_of_the_picture():
    latents, speech = torch.zeros(1, 2, 3, 4, 7), torch.full((1, 12, 1, 1), 0.5)
    people = (Alone(10.0, 11.0, speaks=False), Alone(20.0, None, speaks=True))
    conditions = Conditions(1.0, 0.0, speech, apart=people)

    def columns(conditions, level):
        velocity = velocity_apart(Echo(), latents, level, conditions, Sampling())
        assert velocity.shape == latents.shape
        assert (velocity == velocity[:1, :1, :1, :1]).all()  # the same in all but columns
        return velocity[0, 0, 0, 0].tolist()

    apart = [110.0] * 4 + [20.5] * 3  # who does not speak hears nothing
    assert columns(conditions, 0.8) == apart
    assert columns(conditions, 0.81) == [(one + 1.5) / 2 for one in apart]  # and of each other
    assert columns(replace(conditions, speech=None), 0.5) == [110.0] * 4 + [20.0] * 3
    assert columns(replace(conditions, apart=()), 1.0) == [1.5] * 7


def test_people_told_apart_reach_the_network(tiny, monkeypatch):
    def film(apart):
        monkeypatch.setattr(
            tiny.backbone, "understood", lambda takes, *known: [Told(takes[0].words, None, apart)]
        )
        return tiny(PROMPT, voice(0.5), seed=0, num_inference_steps=4)

    monkeypatch.setattr(tiny, "sampling", replace(tiny.sampling, retell=True))
    one = Alone("A dog on the left.", None, speaks=True)
    other = Alone("A cat on the right.", "A calm cat on the right.", speaks=False)
    both, swapped = film((one, other)), film((other, one))
    assert not np.array_equal(both.frames, swapped.frames)
    assert not np.array_equal(both.frames, film(()).frames)
    assert [part["words"] for part in both.settings["takes"][0]["apart"]] == [
        one.words,
        other.words,
    ]


def test_two_people_of_a_script_of_one_clip_are_known(tiny):
    people = (Character("Person1", "A cat"), Character("Person2", "a dog"))
    script = Script(people, (Clip("A shot of Person1 and Person2.", speaker="Person2"),))
    (take,) = tiny(script, voice(0.5), seed=0, num_inference_steps=1).settings["takes"]
    assert (take["who"], take["speaker"]) == (("Person1", "Person2"), 1)
    assert take["each"] == ("A shot of a cat.", "A shot of a dog.")


def test_text_is_padded_not_cut():
    short, long = torch.ones(1, 2, 5), 2 * torch.ones(1, 4, 5)
    tokens, mask = stack_text(
        [(short, torch.ones(1, 2, dtype=torch.bool)), (long, torch.ones(1, 4, dtype=torch.bool))]
    )
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert (tokens[0, :2] == 1).all() and (tokens[0, 2:] == 0).all() and (tokens[1] == 2).all()


@pytest.mark.parametrize(
    ("seconds", "num_frames"),
    [(0.2, 8), (0.5, 12), (0.9, 24), (1.0, 24), (1.01, 24), (1.05, 28), (1.35, 32)],
)
def test_the_speech_says_how_long_the_film_is(tiny, seconds, num_frames):
    film = tiny("A cat.", voice(seconds), num_inference_steps=1, seed=0)
    assert len(film.frames) == film.settings["num_frames"] == num_frames
    assert len(film.speech) == round(num_frames / 24 * 16_000)
    used = min(len(film.speech), round(seconds * 16_000))
    assert (film.speech[:used] == voice(seconds)[:used]).all()
    assert (film.speech[used:] == 0).all()


def test_too_long_speech_needs_permission_of_a_model_of_one_pass(tiny, monkeypatch):
    monkeypatch.setattr(tiny.backbone, "format", replace(tiny.backbone.format, continues=False))
    with pytest.raises(ValueError) as error:
        tiny(PROMPT, voice(2.0), seed=0)
    assert "2.00 s" in str(error.value) and "first 1.33 s" in str(error.value)
    assert "--allow-cut" in str(error.value)
    with pytest.warns(media.SpeechWarning, match="first 1.33 s of 2.00 s are used"):
        film = tiny(PROMPT, voice(2.0), seed=0, allow_cut=True)
    assert len(film.frames) == 32 and len(film.speech) == 21_333
    with pytest.raises(ValueError, match="num_frames is 64; this model makes 1 to 32"):
        tiny(PROMPT, num_frames=64)


def test_features_of_a_speech_that_is_cut_are_those_of_the_whole(tiny):
    long = voice(2.0)
    whole = tiny.backbone.encode_speech(long, 48)
    assert torch.equal(tiny.backbone.encode_speech(long, 32), whole[:, :32])
    cut_before = tiny.backbone.encode_speech(long[:21_333], 32)
    assert not torch.allclose(cut_before, whole[:, :32], atol=1e-4)


def test_silence_is_no_speech_however_it_hums(tiny):
    hum = (5e-4 * np.sin(np.arange(16_000))).astype(np.float32)
    assert (
        not tiny.backbone.encode_speech(hum, 24).any()
        and tiny.backbone.encode_speech(20 * hum, 24).any()
    )


def test_silent_speech_warns_and_makes_a_film(tiny):
    with pytest.warns(media.SpeechWarning, match="silent"):
        film = tiny(PROMPT, np.zeros(16_000, np.float32), seed=0)
    assert len(film.frames) == 24


def test_no_speech_makes_a_film_without_sound(tiny, tmp_path):
    film = tiny(PROMPT, seed=0)
    assert len(film.frames) == 32 and film.speech is None
    film.save(tmp_path / "a.mp4")
    assert read_film(tmp_path / "a.mp4").speech is None


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 112), (80, 80)])
def test_aspect_ratios(tiny, width, height):
    film = tiny(PROMPT, voice(0.5), width=width, height=height, num_inference_steps=1, seed=0)
    assert film.frames.shape == (12, height, width, 3)


def test_a_script_brings_its_recordings(tiny, tmp_path):
    people = (Character("Person1", "A woman"), Character("Person2", "A man"))
    first, second = voice(0.5, 1), voice(0.4, 2)
    frames = np.zeros((12, 64, 64, 3), np.uint8)
    media.write_film(tmp_path / "1.mp4", frames, first)
    media.write_film(tmp_path / "2.mp4", frames, second)
    script = Script(
        people,
        (
            Clip("Person1 talks.", speech=tmp_path / "1.mp4"),
            Clip("Person2 talks.", speech=tmp_path / "2.mp4"),
        ),
    )
    film = tiny(script, seed=0)
    assert film.settings["prompt"] == script.prompt
    one, two = media.load_speech(tmp_path / "1.mp4"), media.load_speech(tmp_path / "2.mp4")
    assert (film.speech[: len(one)] == one).all()
    pause = film.speech[len(one) : len(one) + 3_200]
    assert (pause == 0).all()
    assert (film.speech[len(one) + 3_200 :][: len(two)] == two).all()
    with pytest.raises(ValueError, match="keep one"):
        tiny(script, voice())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "word " * 300}, "the prompt has 302 tokens (300 words); the limit is 256"),
        ({"prompt": "Person1 talks."}, "Person1 is used in line 1"),
        ({"width": 100}, "size 100x64 is not possible"),
        ({"height": 48}, "size 64x48 is not possible"),
        ({"num_inference_steps": 0}, "steps is 0"),
        ({"text_guidance_scale": float("nan")}, "text_guidance_scale is nan"),
        ({"speech_guidance_scale": -1.0}, "speech_guidance_scale is -1.0"),
        ({"speech": np.zeros((2, 16_000), np.float32)}, "has shape (2, 16000)"),
        ({"speech": np.full(16_000, np.nan, np.float32)}, "NaN"),
        ({"speech": "none.wav"}, "does not exist"),
        ({"speech": None, "num_frames": 0}, "num_frames is 0; this model makes 1 or more"),
    ],
)
def test_bad_requests_are_refused_with_the_reason(tiny, arguments, message):
    with pytest.raises((ValueError, OSError)) as error:
        tiny(**{"prompt": PROMPT, "speech": voice(), "seed": 0} | arguments)
    assert message in str(error.value)


def test_progress_is_told_after_every_step(tiny):
    steps = []
    tiny(PROMPT, voice(), num_inference_steps=3, seed=0, progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_a_whole_number_is_a_guidance_scale_too(tiny):
    whole, real = (
        tiny(PROMPT, voice(), seed=0, text_guidance_scale=scale, speech_guidance_scale=scale)
        for scale in (3, 3.0)
    )
    assert (whole.frames == real.frames).all()


def test_model_folder_and_film_metadata_repeat_the_film(tiny_folder, tmp_path):
    pipeline = MoChaPipeline.from_pretrained(tiny_folder)
    assert pipeline.sampling == Sampling(32, 64, 64, 2)
    film = pipeline(PROMPT, voice(), text_guidance_scale=3.0)
    film.save(tmp_path / "a.mp4")
    written = read_film(tmp_path / "a.mp4").metadata
    assert written == json.loads(json.dumps(film.settings))
    assert "made by a model" in f"made by {written['made_by']}"
    names = ("height", "width", "num_inference_steps", "text_guidance_scale", "seed")
    names += ("speech_guidance_scale",)
    again = MoChaPipeline.from_pretrained(written["model"])(
        written["prompt"], voice(), **{name: written[name] for name in names}
    )
    assert (again.frames == film.frames).all()


def test_a_folder_without_pickles_in_the_layout_of_diffusers(tiny_folder):
    files = {file.relative_to(tiny_folder).as_posix() for file in tiny_folder.rglob("*.*")}
    assert {"model_index.json", "checksums.json", "scheduler/scheduler_config.json"} < files
    for part in ("transformer", "vae", "speech_encoder"):
        assert {f"{part}/config.json", f"{part}/model.safetensors"} < files
    assert all(name.endswith((".json", ".safetensors")) for name in files)


def test_an_image_is_the_first_latent_and_stays_so(tiny, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    write_png(tmp_path / "first.png", image)
    assert (media.load_image(tmp_path / "first.png") == image).all()
    with torch.inference_mode():
        text = tiny.backbone.encode_text(PROMPT)
        first = tiny.backbone.encode_image(image, 64, 64)
        noise = draw_noise(tiny.backbone, 4, tiny.sampling, torch.Generator().manual_seed(0))
        conditions = Conditions(text, text, known=first)
        latents = denoise(tiny.backbone, noise, conditions, tiny.sampling)
    assert first.shape == (1, 16, 1, 8, 8) and torch.equal(latents[:, :, :1], first)
    film = tiny(PROMPT, voice(), tmp_path / "first.png", seed=1)
    assert (film.frames == tiny(PROMPT, voice(), image, seed=1).frames).all()
    assert (film.frames != tiny(PROMPT, voice(), seed=1).frames).any()


def test_a_file_that_is_no_image_is_refused(tiny, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"image file .*text\.png cannot be decoded"):
        tiny(PROMPT, voice(), tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tiny(PROMPT, voice(), tmp_path / "none.png")


def test_a_model_may_ask_for_a_shot(tiny, monkeypatch):
    sampling = replace(tiny.sampling, default_shot="medium close-up", num_inference_steps=1)
    monkeypatch.setattr(tiny, "sampling", sampling)
    with pytest.warns(PromptWarning, match="a medium close-up shot is made"):
        film = tiny("A cat.", voice(0.5), seed=0)
    assert film.settings["prompt"] == "A medium close-up shot of a cat."
    again = tiny(film.settings["prompt"], voice(0.5), seed=0)
    assert (again.frames == film.frames).all()


def test_prompts_are_retold_where_the_model_can(tiny, monkeypatch):
    told = []
    encode = tiny.backbone.encode_text
    monkeypatch.setattr(
        tiny.backbone, "encode_text", lambda words: (told.append(words), encode(words))[1]
    )
    monkeypatch.setattr(
        tiny.backbone, "understood",
        lambda takes, *known: [Told(f"A close-up. {takes[0].words} {known}", "A calm one.")],
    )  # fmt: skip
    monkeypatch.setattr(tiny, "sampling", replace(tiny.sampling, retell=True))
    settings = {"num_frames": 8, "num_inference_steps": 1, "seed": 5}
    film = tiny("A close-up of a cat.", **settings)
    assert told == ["", "A close-up. A close-up of a cat. (5, False)", "A calm one."]
    assert film.settings["takes"][0]["words"] == told[1]
    assert film.settings["takes"][0]["calm"] == told[2]
    assert film.settings["prompt"] == "A close-up of a cat."
    image = np.zeros((64, 64, 3), np.uint8)  # shows what a prompt leaves open
    for given in ({"verbatim": True}, {"image": image}):
        told.clear()
        tiny("A close-up of a cat.", **given, **settings)
        assert told == ["", "A close-up of a cat."]


def test_the_embedded_model_understands_other_words():
    backbone = MoChaPipeline.from_pretrained("toon").backbone
    words = "A close-up shot of a little girl in a blue coat, speaking. She looks happy."
    (both,) = backbone.understood([Take(words, 8)], 0, True)
    told = both.words
    assert [both] == backbone.understood([Take(words, 8)], 0, True) and told != words
    assert "girl" in told and "blue" in told and "background" in told.lower()
    assert both.calm not in (None, told) and "calm" not in told  # a happy girl, and a neutral one
    characters = "Characters: A cat(Person1). A man(Person2)."
    for clips in (
        ("Person1 talks.", "Person1 waves."),
        ("Person1 nods to Person2.", "Person2 talks."),
    ):
        told = (
            f"Two video clips.\n\n{characters}\n\nFirst clip: {clips[0]}\n\nSecond clip: {clips[1]}"
        )
        one_in_each_is_what_it_knows = backbone.understood([Take(told, 8)], 0, True)
        assert one_in_each_is_what_it_knows == [Told(told)]
