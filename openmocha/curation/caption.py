"""Captions in the paper's order: the scene, each character from left to right, who speaks, emotion
and actions, the background, the camera. Conversations of two clips use the character tags.

    described (measured, in words) -> template_caption                       without a model
    described + frames -> caption_request -> answer -> caption_of_answer     with one
"""

from typing import Any

import numpy as np

from openmocha.curation.endpoint import image_part, object_of
from openmocha.prompt import Character, Clip, Script

Json = dict[str, Any]
Frame = np.ndarray[Any, Any]

SHOTS = {
    "close-up": "A close-up shot", "medium close-up": "A medium close-up shot",
    "medium": "A medium shot", "wide": "A wide shot",
}  # fmt: skip
MOTION = {"still": "hardly moves", "calm": "moves calmly", "lively": "moves a lot"}
FACING = {"camera": "faces the camera", "left": "faces left", "right": "faces right"}
CAMERA = {
    "static": "The camera is static.", "zoom in": "The camera zooms in.",
    "zoom out": "The camera zooms out.", "pan left": "The camera pans to the left.",
    "pan right": "The camera pans to the right.", "moving": "The camera moves.",
}  # fmt: skip

# --- without a model -----------------------------------------------------------------------------


def template_caption(described: Json) -> str:
    """A plain caption of what was measured; it knows no faces, only places, sizes and colours.

    described: describe.description_of a clip, or {"clips": [first, second]} of a conversation.
    """
    if "clips" in described:
        return _two_clips(described["clips"])
    people = described["people"]
    names = ["the person"] if len(people) == 1 else [f"person {i + 1}" for i in range(len(people))]
    who = "a person" if len(people) == 1 else f"{len(people)} people" if people else "nobody"
    sentences = [f"{SHOTS[described['shot']]} of {who}."]
    for name, person in zip(names, people, strict=True):
        subject = name[0].upper() + name[1:]
        sentences += [f"{subject}{_clothes(person)} is {_position(person)} and {_facing(person)}."]
        sentences += [f"{subject} {_speaks(person)} and {MOTION[person['motion']]}."]
    return " ".join([*sentences, _background(described), CAMERA[described["camera"]]])


def _two_clips(clips: list[Json]) -> str:
    characters, shots = [], []
    for number, clip in enumerate(clips, 1):
        tag, person = f"Person{number}", clip["people"][0]
        characters.append(Character(tag, f"A person ({tag}){_clothes(person)}."))
        words = [
            f"{SHOTS[clip['shot']]} of {tag}.",
            f"{tag} is {_position(person)} and {_facing(person)}.",
            f"{tag} {_speaks(person)} and {MOTION[person['motion']]}.",
        ]
        shots.append(Clip(" ".join([*words, _background(clip), CAMERA[clip["camera"]]])))
    return Script(tuple(characters), tuple(shots)).prompt


def _clothes(person: Json) -> str:
    return f" in {person['clothes_colour']} clothes" if person["clothes_colour"] else ""


def _position(person: Json) -> str:
    side = person["position"]
    return "in the center" if side == "center" else f"on the {side}"


def _facing(person: Json) -> str:
    return FACING[person["facing"]]


def _speaks(person: Json) -> str:
    return "is speaking" if person["speaking"] else "is not speaking"


def _background(described: Json) -> str:
    light = {"dark": "dark ", "bright": "bright ", "normal": ""}[described["brightness"]]
    return f"The background is {light}{described['background_colour']}."


# --- with a model --------------------------------------------------------------------------------


def text_schema(longest: int) -> Json:
    """A string that a small model cannot break: printable, bounded, not empty, and without quotes
    and backslashes, which llama.cpp's grammars would let through unescaped."""
    printable = r"[ !#-\[\]-~]"
    return {"type": "string", "pattern": f"^{printable}{{1,{longest}}}$", "maxLength": longest}


CHARACTER = object_of(
    {
        "position": {"enum": ["left", "center", "right"]},
        "appearance": text_schema(240),
        "speaking": {"enum": ["SPEAKING", "NOT SPEAKING"]},
        "emotion_and_body_language": text_schema(200),
        "actions": text_schema(200),
    }
)
CLIP = object_of(
    {
        "scene": text_schema(240),
        "characters": {"type": "array", "items": CHARACTER, "minItems": 1, "maxItems": 4},
        "background": text_schema(240),
        "camera": text_schema(120),
    }
)
TWO_CLIPS = object_of({"first_clip": CLIP, "second_clip": CLIP})
PROMINENCE = object_of({"reason": text_schema(240), "decision": {"enum": ["keep", "drop"]}})

ASK_CAPTION = (
    "These pictures are from one film clip of about {seconds:.0f} seconds, in order. Describe it "
    "for training a video model, in this order: the scene as a whole with the shot size; each "
    "character from left to right with looks, clothes and position; whether the character is "
    "SPEAKING or NOT SPEAKING; emotion and body language; actions; the background; the camera's "
    "movement. Plain sentences, nothing that is not seen. Measured of the clip: {measured}"
)
ASK_PROMINENCE = (
    "These pictures are from one film clip, in order. Is a character the main focus of it and does "
    "the character fill a significant part of the frame? Give the reason first, then decide: keep "
    "or drop. Measured of the clip: {measured}"
)


def caption_request(
    described: Json, frames: list[Frame], seconds: float
) -> tuple[list[Json], Json]:
    """(messages, schema) of the question for one clip's or one conversation's description."""
    schema = TWO_CLIPS if "clips" in described else CLIP
    words = ASK_CAPTION.format(seconds=seconds, measured=measured_words(described))
    return question(words, frames), schema


def prominence_request(described: Json, frames: list[Frame]) -> tuple[list[Json], Json]:
    """(messages, schema) of the paper's second step: is a character the main focus?"""
    words = ASK_PROMINENCE.format(measured=measured_words(described))
    return question(words, frames), PROMINENCE


def measured_words(described: Json) -> str:
    return template_caption(described).replace("\n\n", " ")


def question(words: str, frames: list[Frame]) -> list[Json]:
    """One message of the user: pictures, then words."""
    parts = [image_part(frame) for frame in frames]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}]


def caption_of_answer(answer: Json) -> str:
    """An answer of the schema as a prompt."""
    if "first_clip" not in answer:
        return " ".join(_told(answer, None))
    clips = [answer["first_clip"], answer["second_clip"]]
    characters, shots = [], []
    for number, clip in enumerate(clips, 1):
        tag = f"Person{number}"
        looks = _ended(clip["characters"][0]["appearance"]).replace("\n", " ")
        characters.append(Character(tag, looks))
        shots.append(Clip(" ".join(_told(clip, tag))))
    return Script(tuple(characters), tuple(shots)).prompt


def _told(clip: Json, tag: str | None) -> list[str]:
    """The sentences of one clip; with a tag, its only character was described before."""
    sentences = [_ended(clip["scene"])]
    people = clip["characters"] if tag is None else clip["characters"][:1]
    for person in people:
        side = person["position"]
        where = "in the center" if side == "center" else f"on the {side}"
        speaks = "is speaking" if person["speaking"] == "SPEAKING" else "is not speaking"
        name = tag or f"The character {where}"
        sentences += [] if tag else [_ended(person["appearance"])]
        sentences += [f"{name} {speaks}."]
        sentences += [_ended(person["emotion_and_body_language"]), _ended(person["actions"])]
    return [*sentences, _ended(clip["background"]), _ended(clip["camera"])]


def _ended(words: str) -> str:
    """A sentence, whatever the model left out of it."""
    words = " ".join(words.split()) or "Nothing more is seen"
    return words[0].upper() + words[1:] + ("" if words[-1] in ".!?" else ".")
