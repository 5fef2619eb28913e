"""A story in words, as people write prompts: the paper's order and, for dialogues, its template.

Order of a single clip: shot and subject, appearance, position and facing, emotion and actions,
background, camera. Every clause has many wordings, and most are left out now and then, so that
prompts that say less, or say it otherwise, still work. The words are tables in wording.py.
"""

import re

import numpy as np

from openmocha.toon import wording
from openmocha.toon.stories import Cast, Character, Clip, Story, story_rng

ORDINALS = ("First", "Second")
DROP = 0.2  # chance of a clause to be left out


def caption_of(story: Story, drop: float = DROP) -> str:
    """The caption of a story, the same on every call.

    drop: chance of each clause after the subject to be left out; 0 tells every attribute.
    """
    seeds = [character.voice_seed for character in story.characters]
    rng = story_rng("caption", story.split, story.source, story.seed, *seeds)
    # Some captions are short as a whole, as prompts are.
    share = drop * (0.4 if rng.random() < 0.5 else 1.6)
    if len(story.clips) == 2 or rng.random() < 0.08:
        return template_caption(rng, story, share)
    if len(story.characters) == 2:
        return two_person_caption(rng, story, share)
    return one_person_caption(rng, story, share)


def without_tags(caption: str, story: Story) -> str:
    """The caption with each tag replaced by the plain noun of whom it stands for.

    Everybody is described as before; only the thread from a description to its clips is cut, as in
    the paper's ablation of tags (table 6).
    """
    for number, character in enumerate(story.characters, 1):
        caption = caption.replace(f"(Person{number})", "")
        caption = re.sub(
            rf"(^|[.:] |\n)Person{number}\b", rf"\1The {simple_noun(character)}", caption
        )
        caption = re.sub(rf"\bPerson{number}\b", f"the {simple_noun(character)}", caption)
    return caption


def say(rng: np.random.Generator, wordings: tuple[str, ...]) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def one_person_caption(rng: np.random.Generator, story: Story, drop: float) -> str:
    """A close-up shot of a young woman ... She is wearing ... The background is ..."""
    clip, character = story.clips[0], story.characters[0]
    cast = clip.cast[0]
    told: set[str] = set()
    if rng.random() < 0.35:
        told |= {"looks"}
    subject = noun(rng, character)
    if "looks" in told:
        subject += " " + brief_looks(rng, character, drop)
    opening = open_scene(rng, clip, subject.strip(), clip.speaker is not None, drop)
    body = []
    if "looks" not in told:
        body += looks(rng, character, drop)
    body += [where(rng, character, cast, drop)] if kept(rng, drop) else []
    body += behaviour(rng, character, cast, clip.speaker is not None, drop)
    scene = background(rng, story, drop)
    if rng.random() < 0.3:
        body, scene = scene + body, []
    return join([opening, *body, *scene, *camera(rng, clip, drop)])


def two_person_caption(rng: np.random.Generator, story: Story, drop: float) -> str:
    """Both characters from left to right, and which of them speaks."""
    clip = story.clips[0]
    people = [story.characters[cast.character] for cast in clip.cast]
    nouns = [noun(rng, person) for person in people]
    pair = f"{nouns[0]} and {nouns[1]}"
    opening = say(rng, wording.PAIR_OPENINGS).format(shot=shot_name(rng, clip), pair=pair)
    body = []
    for side, cast, person in zip(("left", "right"), clip.cast, people, strict=True):
        text = say(rng, wording.ON_SIDE).format(side=side, noun=noun(rng, person))
        body.append(f"{text} {brief_looks(rng, person, drop)}".strip() + ".")
        speaking = clip.speaker is not None and clip.cast[clip.speaker] is cast
        pieces = [say(rng, wording.SPEAKS if speaking else wording.LISTENS)]
        pieces += [say(rng, wording.FEELING[cast.emotion])] if kept(rng, drop) else []
        who = say(rng, ("The {simple} on the {side}", "The {side} {simple}", "{He}"))
        words = {"simple": simple_noun(person), "side": side, **pronouns(person)}
        body.append(who.format(**words) + " " + " ".join(pieces).format(**words) + ".")
        body += [where_facing(rng, person, cast)] if kept(rng, more(drop, 0.3)) else []
        body += act_sentence(rng, person, cast, speaking) if kept(rng, drop) else []
    return join([opening, *body, *background(rng, story, drop), *camera(rng, clip, drop)])


def template_caption(rng: np.random.Generator, story: Story, drop: float) -> str:
    """The paper's template: how many clips, each character once with a tag, then the clips."""
    count = ("One video clip.", "Two video clips.")[len(story.clips) - 1]
    described = [
        f"{capital(noun(rng, person))}(Person{index}) {brief_looks(rng, person, drop)}".strip()
        + "."
        for index, person in enumerate(story.characters, 1)
    ]
    told = int(rng.integers(len(story.clips)))
    clips = []
    for index, clip in enumerate(story.clips):
        body = [clip_sentences(rng, story, clip, drop)]
        if index == 0 or rng.random() < 0.4:
            body += background(rng, story, drop if index == 0 else 0.5)
        elif rng.random() < 0.6:
            body.append(say(rng, wording.SAME_PLACE))
        body += camera(rng, clip, drop if index == told else more(drop, 0.3))
        clips.append(f"{ORDINALS[index]} clip: {join(body)}")
    return "\n\n".join([count, f"Characters: {' '.join(described)}", *clips])


def clip_sentences(rng: np.random.Generator, story: Story, clip: Clip, drop: float) -> str:
    """Who is seen in one clip of the template, and what they do, by tags alone."""
    sentences = []
    for index, cast in enumerate(clip.cast):
        person, tag = story.characters[cast.character], f"Person{cast.character + 1}"
        speaking = clip.speaker == index
        words = {"tag": tag, "shot": shot_name(rng, clip), **pronouns(person)}
        first: tuple[str, ...] = wording.TAG_SPEAKS if speaking else wording.TAG_LISTENS
        if kept(rng, drop * 0.6) and index == 0:
            first = wording.TAG_SPEAKS_SHOT if speaking else wording.TAG_LISTENS_SHOT
        text = say(rng, first).format(**words)
        if kept(rng, drop):
            text += " " + say(rng, wording.FEELING[cast.emotion]).format(**words)
        sentences.append(text + ".")
        sentences += [where(rng, person, cast, drop)] if kept(rng, drop) else []
        sentences += act_sentence(rng, person, cast, speaking, tag) if kept(rng, drop) else []
    return join(sentences)


def open_scene(
    rng: np.random.Generator, clip: Clip, subject: str, speaking: bool, drop: float
) -> str:
    doing = say(rng, wording.SPEAKING if speaking else wording.SILENT)
    if not kept(rng, drop * 0.3):
        return capital(f"{subject} {say(rng, ('is ',))}{doing}.")
    words = {"shot": shot_name(rng, clip), "subject": subject, "doing": doing}
    return capital(say(rng, wording.OPENINGS).format(**words))


def shot_name(rng: np.random.Generator, clip: Clip) -> str:
    return say(rng, wording.SHOT_NAMES[clip.shot])


def noun(rng: np.random.Generator, c: Character) -> str:
    """With its article: "a young woman", "an elderly cat", "a friendly robot"."""
    if c.species == "person":
        words = say(rng, wording.PEOPLE[c.age, c.gender])
    else:
        words = say(rng, wording.BEASTS[c.age]).format(species=c.species, gender=c.gender)
        if c.species == "robot":
            words = words.replace("fluffy ", "").replace("furry ", "")
    return article(words)


def simple_noun(c: Character) -> str:
    if c.species != "person":
        return c.species
    return {"female": ("girl", "woman"), "male": ("boy", "man")}[c.gender][c.age != "child"]


def pronouns(c: Character) -> dict[str, str]:
    he, his, him = ("she", "her", "her") if c.gender == "female" else ("he", "his", "him")
    return {"he": he, "his": his, "him": him, "He": he.capitalize(), "His": his.capitalize()}


def body_words(rng: np.random.Generator, c: Character) -> str:
    """Skin, fur or metal."""
    if c.species == "robot":
        return say(rng, wording.METAL_WORDS).format(colour=c.skin)
    if c.species != "person":
        return say(rng, wording.FUR_WORDS).format(colour=say(rng, wording.FUR_COLOURS[c.skin]))
    return say(rng, wording.SKIN_WORDS[c.skin])


def hair_words(rng: np.random.Generator, c: Character) -> str:
    if c.hair_style == "bald":
        return say(rng, wording.BALD)
    colour = say(rng, wording.HAIR_COLOURS[c.hair_colour])
    return say(rng, wording.HAIR_STYLES[c.hair_style]).format(colour=colour)


def clothes_words(rng: np.random.Generator, c: Character) -> str:
    colour = say(rng, wording.COLOURS[c.clothes_colour])
    return article(f"{colour} {say(rng, wording.CLOTHES[c.clothes])}")


def extra_words(rng: np.random.Generator, c: Character) -> str:
    return say(rng, wording.ACCESSORIES[c.accessory])


def brief_looks(rng: np.random.Generator, c: Character, drop: float) -> str:
    """One phrase: "with light skin, short black hair and glasses, wearing a red coat"."""
    features = [body_words(rng, c)] if kept(rng, drop) else []
    worn = [clothes_words(rng, c)] if kept(rng, drop * 0.7) else []
    if c.species == "person" and kept(rng, drop * 0.7):
        features.insert(int(rng.integers(len(features) + 1)), hair_words(rng, c))
    if c.accessory != "none" and kept(rng, drop):
        (features if c.accessory == "beard" or rng.random() < 0.3 else worn).append(
            extra_words(rng, c)
        )
    phrases = [f"with {listed(features)}"] if features else []
    if worn:
        phrases.append(f"{say(rng, ('wearing', 'dressed in', 'in'))} {listed(worn)}")
    if len(phrases) == 2 and rng.random() < 0.3:
        return f"{phrases[1]}, {phrases[0]}"
    return ", ".join(phrases) if rng.random() < 0.6 else " ".join(phrases)


def looks(rng: np.random.Generator, c: Character, drop: float) -> list[str]:
    """Sentences of their own: "He has brown skin and curly red hair. He is wearing ..."."""
    who = pronouns(c)["He"] if rng.random() < 0.7 else f"The {simple_noun(c)}"
    features = [body_words(rng, c)] if kept(rng, drop) else []
    if c.species == "person" and kept(rng, drop * 0.7):
        features.insert(int(rng.integers(len(features) + 1)), hair_words(rng, c))
    worn = [clothes_words(rng, c)] if kept(rng, drop * 0.7) else []
    if c.accessory != "none" and kept(rng, drop):
        (features if c.accessory == "beard" else worn).append(extra_words(rng, c))
    sentences = [f"{who} has {listed(features)}."] if features else []
    if worn:
        wears = say(rng, ("is wearing", "wears", "is dressed in", "has on"))
        sentences.append(f"{pronouns(c)['He']} {wears} {listed(worn)}.")
    return sentences if rng.random() < 0.75 else sentences[::-1]


def where(rng: np.random.Generator, c: Character, cast: Cast, drop: float) -> str:
    """Position and facing direction in one sentence, or the facing alone."""
    if not kept(rng, 0.25 if drop else 0.0):
        return where_facing(rng, c, cast)
    place = say(rng, wording.POSITIONS[cast.position])
    facing = say(rng, wording.FACINGS[cast.facing])
    return f"{pronouns(c)['He']} {place}, {facing}."


def where_facing(rng: np.random.Generator, c: Character, cast: Cast) -> str:
    return f"{pronouns(c)['He']} is {say(rng, wording.FACINGS[cast.facing])}."


def behaviour(
    rng: np.random.Generator, c: Character, cast: Cast, speaking: bool, drop: float
) -> list[str]:
    sentences = []
    if kept(rng, drop):
        sentences.append(say(rng, wording.EMOTIONS[cast.emotion]).format(**pronouns(c)))
    if kept(rng, drop):
        sentences += act_sentence(rng, c, cast, speaking)
    return sentences


def act_sentence(
    rng: np.random.Generator, c: Character, cast: Cast, speaking: bool, tag: str = ""
) -> list[str]:
    """What the character does; where nothing, sometimes that they go on speaking."""
    words = {"who": tag or f"the {simple_noun(c)}", **pronouns(c)}
    if cast.action != "none":
        act = say(rng, wording.ACTIONS[cast.action])
        frame = say(rng, wording.ACTING if speaking else wording.ACTING_SILENTLY)
        return [capital(frame.format(act=act.format(**words), **words))]
    if rng.random() < 0.35:
        return [capital(say(rng, wording.STILL if speaking else wording.QUIET).format(**words))]
    return []


def background(rng: np.random.Generator, story: Story, drop: float) -> list[str]:
    sentences = []
    words = {
        "place": say(rng, wording.PLACES[story.place]),
        "colour": say(rng, wording.COLOURS[story.background_colour]),
        "light": say(rng, wording.LIGHTS[story.light]),
    }
    words["a_colour"] = article(words["colour"])
    if kept(rng, drop):
        table = wording.WALLS if story.place == "wall" else wording.BACKGROUNDS
        sentences.append(say(rng, table).format(**words))
    if kept(rng, more(drop, 0.15)):
        sentences.append(say(rng, wording.LIGHTING).format(**words))
    return sentences


def camera(rng: np.random.Generator, clip: Clip, drop: float) -> list[str]:
    return [say(rng, wording.CAMERAS[clip.camera])] if kept(rng, drop) else []


def kept(rng: np.random.Generator, drop: float) -> bool:
    return bool(rng.random() >= drop)


def more(drop: float, by: float) -> float:
    """The chance of what is left out more often than the rest; none where all is told."""
    return drop + by if drop else 0.0


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def join(sentences: list[str]) -> str:
    return " ".join(sentence.strip() for sentence in sentences if sentence.strip())
