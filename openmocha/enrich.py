"""Short prompts to full ones: what a prompt leaves out, and a model that fills it in.

MoCha is trained on long captions in a fixed order. A prompt without a shot size tends to become a
wide shot, whose mouths are a few pixels: the paper's own failure.
"""

import re
from pathlib import Path

from openmocha.curation.caption import CLIP, TWO_CLIPS, caption_of_answer, question
from openmocha.curation.endpoint import Endpoint, ask
from openmocha.prompt import parse_prompt
from openmocha.rewording import names_shot

ASK = (
    "Turn this short idea for a film of a few seconds into a full description for a video model. "
    "Keep everything that the idea says and invent only what it leaves out. If it names no shot "
    "size, choose a close-up or a medium close-up in which the face is seen clearly, facing the "
    "camera; at least one character is SPEAKING. The idea: {prompt}"
)
FACE = r"\b(fac(e|es|ing)|look(s|ing)?|camera|profile|eyes|turn(s|ed)?|gaz(es|ing))\b"
SPEAKS = r"\b(speak|talk|say|tell|ask|answer|shout|whisper|sing|laugh|argu|explain|announc)\w*\b"


def missing(prompt: str) -> list[str]:
    """What a prompt leaves out that films go wrong without, a plain sentence each."""
    script = parse_prompt(prompt)
    warnings = []
    for number, clip in enumerate(script.clips, 1):
        where = f"clip {number} " if len(script.clips) > 1 else "the prompt "
        if not names_shot(clip.text):
            warnings.append(
                f"{where}names no shot size: it may become a wide shot, where lips are too small "
                "to follow the speech; say close-up or medium close-up"
            )
        if not re.search(FACE, clip.text, re.I):
            warnings.append(f"{where}does not say where the face looks; say: facing the camera")
        if not re.search(SPEAKS, clip.text, re.I):
            warnings.append(f"{where}does not say who speaks")
    return warnings


def enrich(prompt: str, endpoint: Endpoint, cache: Path | None = None) -> str:
    """The full prompt that a model makes of a short one, in the order of the training captions.

    Raises ValueError for an empty prompt, EndpointError where no answer comes.
    """
    if not prompt.strip():
        raise ValueError("the prompt is empty; say at least who is seen and what they do")
    schema = TWO_CLIPS if len(parse_prompt(prompt).clips) == 2 else CLIP
    answer = ask(endpoint, question(ASK.format(prompt=prompt), []), schema, "prompt", cache)
    return caption_of_answer(answer)
