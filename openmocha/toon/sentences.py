"""An endless supply of plain English sentences for toon characters to say.

A small grammar over word lists that cover the sounds of English; a sentence belongs to the test
split if its hash says so, so no test sentence is ever spoken in training.
"""

import hashlib
import re

import numpy as np

_LISTS = {
    "name": (
        "Anna, Ben, Clara, David, Emma, Felix, Grace, Henry, Iris, Jack, Kate, Leo, Maya, Noah, "
        "Olivia, Paul, Quinn, Rosa, Sam, Tara, Victor, Wendy, Zoe, Peter, Molly, Bob, Fiona, "
        "George, Hugh, Joy"
    ),
    "relation": (
        "mother, father, brother, sister, friend, neighbour, teacher, boss, cousin, aunt, "
        "uncle, doctor, partner, grandmother, daughter"
    ),
    "noun": (
        "house, river, window, garden, train, letter, camera, bottle, mountain, bicycle, piano, "
        "secret, kitchen, story, picture, bridge, village, moment, ship, forest, castle, "
        "market, fire, box, shadow, wheel, voice, map, ring, tower, door, engine, song, boat, "
        "basket, chair, journey, treasure, pocket, feather, blanket, package, puzzle, movie, "
        "phone, coffee, breakfast, pumpkin, umbrella, giraffe, violin, thunder, television, "
        "beach, wave, fox, pepper, bubble, church, bath, leather, vision, measure"
    ),
    "plural": (
        "people, flowers, books, stars, birds, apples, dreams, windows, shoes, keys, promises, "
        "children, clouds, mushrooms, problems, voices, potatoes, animals, papers, friends, "
        "leaves, waves, buttons, strawberries, fish, puppies, rumours, colours"
    ),
    "adjective": (
        "big, small, old, beautiful, quiet, strange, wonderful, broken, heavy, bright, cold, "
        "warm, yellow, blue, purple, empty, famous, funny, dark, gentle, hidden, lovely, "
        "modern, narrow, perfect, rough, silver, soft, terrible, thick, tiny, ugly, unusual, "
        "wild, wooden, young, brave, clever, foolish, fresh"
    ),
    "mood": (
        "happy, sad, tired, angry, afraid, proud, ready, sorry, sure, nervous, hungry, worried, "
        "amazed, busy, curious, lonely, calm, furious, thrilled, bored, jealous"
    ),
    "past": (
        "found, lost, bought, painted, moved, opened, watched, followed, remembered, forgot, "
        "broke, made, carried, washed, heard, saw, wanted, chose, kept, built, pushed, cooked, "
        "borrowed, measured, shook, fixed, wrote, gave up on, threw away"
    ),
    "verb": (
        "find, open, move, watch, follow, remember, forget, make, carry, wash, hear, see, "
        "choose, keep, build, push, cook, borrow, fix, paint, change, save, buy, show, share, "
        "use, leave, hold"
    ),
    "go": "go, walk, run, drive, fly, travel, hurry, move, wander, come back",
    "place": (
        "at home, in the park, by the river, near the bridge, in the city, under the table, "
        "behind the house, on the beach, at the office, across the street, in the forest, on "
        "the mountain, in the kitchen, at school"
    ),
    "where": (
        "to the park, to the river, to the bridge, to the city, to the beach, to the office, to "
        "the forest, to the market, to the theatre, to work"
    ),
    "time": (
        "today, tomorrow, tonight, yesterday, again, this morning, every day, before lunch, "
        "after dinner, last week, at midnight, on Friday, in the summer, for five years, right "
        "now, once more"
    ),
    "adverb": "really, never, always, probably, almost, finally, suddenly, quietly, simply, only",
    "feeling": "love, hate, need, miss, want, enjoy, remember, understand, prefer, fear",
    "number": "two, three, four, five, six, seven, eight, nine, ten, twelve, fifty, a hundred",
    "opener": (
        "Well, Listen, Oh, Honestly, Look, Maybe, Actually, Please, Hey, Of course, By the way, "
        "You know, Between you and me, In fact, Believe me"
    ),
}
_THINGS = (
    "the {noun}", "the {adjective} {noun}", "my {noun}", "your {adjective} {noun}",
    "that {noun}", "our {noun}", "this {adjective} {noun}", "{number} {plural}",
    "the {plural}", "these {adjective} {plural}", "all the {plural}", "every {noun}",
    "the {noun} of my {relation}", "a {noun} and some {plural}",
)  # fmt: skip
_WHO = (
    "I", "I", "I", "we", "you", "they", "my {relation}", "{name}", "the {adjective} {relation}",
    "our {relation}", "{name} and {name}", "nobody", "everyone", "she", "he",
)  # fmt: skip
_SENTENCES = (
    "{who} {past} {thing} {time}.",
    "{who} {past} {thing} {place}.",
    "{who} {adverb} {past} {thing}.",
    "{who} {past} {thing}, and {who} {past} {thing}.",
    "{who} {past} {thing} because {who} {past} {thing}.",
    "I {feeling} {thing}.",
    "I {feeling} {thing}, but you {adverb} {feeling} {thing}.",
    "We should {verb} {thing} {time}.",
    "You can't {verb} {thing} {place}!",
    "Can you {verb} {thing} for {name}?",
    "Why don't we {go} {where} {time}?",
    "Did you {verb} {thing} {time}?",
    "Where is {thing}?",
    "What would you do with {thing}?",
    "I'm so {mood} about {thing}.",
    "You look {mood} {time}.",
    "Are you {mood}?",
    "How {mood} {name} was when {who} {past} {thing}!",
    "There are {number} {plural} {place}.",
    "There was {thing} {place}, just behind {thing}.",
    "Let's {go} {where} and {verb} {thing}.",
    "Please {verb} {thing} before you {go} {where}.",
    "If you {verb} {thing}, I will {verb} {thing}.",
    "When I was a child, {who} {past} {thing} {place}.",
    "Nobody told me that {who} {past} {thing}.",
    "I thought that {thing} was {adjective}, but it was {adjective}.",
    "My {relation} said that {who} {past} {thing} {time}.",
    "That is the most {adjective} {noun} I have ever seen!",
    "{opener}, {who} {past} {thing}.",
    "{opener}, I will {verb} {thing} {time}.",
    "{opener}, we could {go} {where}.",
    "{opener}, are you {mood}, or just {mood}?",
    "Hello {name}, how was your {noun}?",
    "Thank you for {thing}, {name}.",
    "No, I don't {verb} {plural}.",
    "Yes, I {adverb} {feeling} {thing}!",
    "It takes {number} {plural} to {verb} {thing}.",
    "Stop! {who} {past} {thing}!",
    "Wait, {name}. We have to {verb} {thing}.",
    "What a {adjective} {noun}!",
    "{name}?",
    "I {feeling} you, {name}.",
)
TEST_SHARE = 8  # one sentence in so many belongs to the test split


_GRAMMAR: dict[str, tuple[str, ...]] = {
    **{name: tuple(words.split(", ")) for name, words in _LISTS.items()},
    "thing": _THINGS,
    "who": _WHO,
}


def _expand(rng: np.random.Generator, text: str) -> str:
    def pick(match: re.Match[str]) -> str:
        options = _GRAMMAR[match[1]]
        return _expand(rng, options[int(rng.integers(len(options)))])

    return re.sub(r"\{(\w+)\}", pick, text)


def sentence_split(text: str) -> str:
    """ "train" or "test", by the words alone."""
    words = re.sub(r"[^a-z]+", " ", text.lower()).strip()
    return "test" if hashlib.sha256(words.encode()).digest()[0] % TEST_SHARE == 0 else "train"


def sentence(rng: np.random.Generator, split: str = "train") -> str:
    """A sentence of 1 to about 20 words, of `split` ("train" or "test").

    Raises:
        ValueError: unknown split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"no split {split!r}; expected 'train' or 'test'")
    while True:
        text = _expand(rng, _SENTENCES[int(rng.integers(len(_SENTENCES)))])
        text = re.sub(r"\ba (?=[aeiou])", "an ", text)
        text = text[0].upper() + text[1:]
        if sentence_split(text) == split:
            return text
