"""Captions as other people write them: other words for the same things, and sentences about things
that toon lacks.

    A boy in a red coat. He is angry. -> A boy in a crimson parka. Shadows fall softly. He is angry.

The caption reader learns to see through such prompts, so that prompts made for photographed films
give the toon world's nearest. Words and sentences of the split "test" are never trained with.
"""

import re

import numpy as np

# What captions say (a pattern) -> what others say instead; the last of each row is the test's.
WORDS: dict[str, tuple[str, ...]] = {
    # people
    r"(?:little |young |cute little )?girl": ("toddler girl", "schoolgirl", "six-year-old girl"),
    r"(?:little |young |cute little )?boy": ("toddler boy", "schoolboy", "seven-year-old boy"),
    r"young woman|young lady|woman in her 20s": (
        "teenage girl",
        "female student",
        "college-aged woman",
        "woman around 25 years old",
        "actress in her twenties",
    ),
    r"young man|young guy|man in his 20s": (
        "teenage boy",
        "male student",
        "college-aged man",
        "man around 25 years old",
        "actor in his twenties",
    ),
    r"middle-aged woman|woman in her 40s": (
        "businesswoman in her forties",
        "woman around 45 years old",
        "mature woman",
        "mother in her early forties",
    ),
    r"middle-aged man|man in his 40s": (
        "businessman in his forties",
        "man around 45 years old",
        "mature man",
        "father in his early forties",
    ),
    r"elderly woman|old woman|woman in her 70s|grandmother": (
        "senior lady",
        "woman of about eighty",
        "aged woman with wrinkles",
        "frail old lady",
    ),
    r"elderly man|old man|man in his 70s|grandfather": (
        "senior gentleman",
        "man of about eighty",
        "aged man with wrinkles",
        "frail old gentleman",
    ),
    r"robot": ("android", "humanoid machine", "mechanical robot", "droid"),
    r"cat": ("kitten", "tabby cat", "house cat", "feline"),
    r"dog": ("puppy", "hound", "retriever dog", "canine"),
    r"bear": ("teddy-like bear", "bear cub", "grizzly"),
    r"rabbit": ("bunny", "hare", "bunny rabbit"),
    # looks
    r"very pale skin|pale skin|very fair skin": ("porcelain skin", "ivory skin", "ghostly skin"),
    r"light skin|fair skin|fair complexion": ("light-toned skin", "fair-toned skin", "peachy skin"),
    r"tanned skin|tan skin|olive skin": ("sun-kissed skin", "bronzed skin", "honey-toned skin"),
    r"dark brown skin|dark skin": ("ebony skin", "deep black skin", "richly pigmented dark skin"),
    r"medium brown skin|(?<!light )(?<!dark )brown skin": (
        "caramel skin",
        "medium-toned brown skin",
        "chestnut skin",
    ),
    r"(?:jet-)?black(?= hair| curls|, )": ("dark", "raven", "inky black"),
    r"(?:brunette|chestnut brown|brown)(?= hair| curls)": ("dark brown", "hazel", "chocolate"),
    r"(?:blonde?|golden blonde)(?= hair| curls)": ("fair", "straw-coloured", "platinum", "flaxen"),
    r"(?:red|ginger|auburn red)(?= hair| curls)": ("auburn", "copper", "fiery red"),
    r"(?:gr[ea]y|silver-gray)(?= hair| curls)": ("silver", "salt-and-pepper", "ashen"),
    r"short, neat|short(?= \w+(?: \w+)? hair)": ("cropped", "closely cut", "buzz-cut"),
    r"long, flowing|long(?= \w+(?: \w+)? hair)": ("shoulder-length", "waist-length", "hip-length"),
    r"curly(?= )": ("wavy", "frizzy", "tightly curled"),
    r"a bald head|no hair|a shaved head": ("a hairless head", "a smooth bare head"),
    r"a (?:full |neatly trimmed )?beard": ("a goatee", "a bushy beard", "stubble on the chin"),
    r"a brimmed hat|a hat": ("a cap", "a fedora", "a cowboy hat", "a beanie"),
    r"a warm scarf|a scarf": ("a shawl", "a woollen scarf", "a neckerchief"),
    r"a pair of glasses|eyeglasses|glasses": ("spectacles", "sunglasses", "thick-rimmed glasses"),
    r"headphones": ("a headset", "earphones", "studio headphones"),
    # clothes
    r"t-shirt|T-shirt|tee|short-sleeved shirt": ("shirt", "tank top", "polo shirt", "camisole"),
    r"wool coat|overcoat|long coat|coat(?! of fur)": (
        "jacket",
        "leather jacket",
        "trench coat",
        "parka",
        "denim jacket",
    ),
    r"business suit|suit and tie|suit(?! jacket)": ("tuxedo", "blazer", "formal suit"),
    r"hoodie|hooded sweatshirt": ("sweatshirt", "zipped hoodie", "tracksuit top"),
    r"knitted sweater|sweater|pullover|jumper": ("cardigan", "turtleneck", "woollen top", "blouse"),
    r"evening dress|dress": ("gown", "sundress", "flowing robe", "long satin dress"),
    # colours (of clothes and backgrounds)
    r"bright red|red": ("crimson", "scarlet", "maroon", "ruby-red"),
    r"bright orange|orange": ("tangerine", "amber", "rust-coloured"),
    r"bright yellow|yellow": ("mustard", "lemon-coloured", "canary yellow"),
    r"green": ("olive", "emerald", "dark green", "mint"),
    r"blue": ("navy", "sky-blue", "light blue", "cobalt"),
    r"purple|violet": ("lavender", "lilac", "plum"),
    r"pink": ("rose-coloured", "magenta", "salmon"),
    r"white": ("off-white", "ivory", "light-coloured"),
    r"black": ("jet", "charcoal-black", "pitch-black"),
    r"gr[ea]y": ("silver-grey", "slate", "ash-coloured"),
    r"brown(?! skin| complexion)": ("tan-brown", "beige-brown", "mahogany"),
    # shot, place, light, camera
    r"medium close-up(?: shot)?|head and shoulders shot": ("bust shot", "chest-up shot"),
    r"(?<!medium )close-up(?: shot| view)?|close shot": (
        "extreme close-up",
        "tight shot of the face",
        "tight close-up shot",
    ),
    r"medium shot|waist-up shot|mid shot": ("half-body shot", "shot from the waist up"),
    r"wide(?:-angle)? shot|long shot|full shot": ("full-body shot", "distant shot", "far shot"),
    r"(?:cozy )?living room": ("bedroom", "apartment", "lounge with a sofa", "home interior"),
    r"(?:home )?kitchen": ("cafe", "restaurant kitchen", "kitchen with cupboards"),
    r"(?:modern )?office": ("classroom", "library", "recording studio", "conference room"),
    r"park(?: with trees and grass)?": ("garden", "meadow", "grassy field", "backyard"),
    r"forest(?: of tall trees)?": ("woodland", "jungle", "woods"),
    r"(?:sandy )?beach(?: by the sea)?": ("seaside", "shore", "coast with waves"),
    r"(?:city )?street(?: with houses)?": ("sidewalk", "alley", "busy road", "town square"),
    r"city at night|city skyline at night": ("neon-lit street at night", "rooftop at night"),
    r"(?:theater )?stage(?: with curtains)?": ("concert hall", "theatre", "podium"),
    r"snowfield|snowy landscape|snow-covered field": ("wintry mountain", "icy plain"),
    r"(?:soft|bright) daylight|natural daylight": ("sunlight", "noon sunshine", "diffuse daylight"),
    r"warm (?:evening|golden|sunset) light": ("golden-hour light", "candlelight", "dusky glow"),
    r"cool night light": ("moonlight", "dim neon light", "darkness and faint blue light"),
    r"static(?: throughout the video)?": ("fixed", "stationary", "locked off on a tripod"),
    r"slowly zooms in|zooms in": ("gradually approaches", "dollies in", "creeps closer"),
    r"slowly zooms out|zooms out": ("gradually retreats", "dollies out", "backs off"),
    r"pans left|slowly pans to the left": ("tracks left", "swings to the left"),
    r"pans right|slowly pans to the right": ("tracks right", "swings to the right"),
    # behaviour
    r"with a (?:neutral|calm) expression": ("composed", "serious and focused", "with a blank face"),
    r"with a happy expression|with a joyful smile|happily|with a big smile": (
        "cheerfully",
        "grinning",
        "full of delight",
        "laughing",
    ),
    r"with a sad expression|sadly|with a sorrowful expression": (
        "tearfully",
        "in grief",
        "with watery eyes, melancholic",
        "dejectedly",
    ),
    r"with an angry expression|angrily|with furrowed brows, angry": (
        "furiously",
        "enraged",
        "with annoyance",
        "in a rage",
    ),
    r"with a surprised expression|in surprise|with an astonished look": (
        "shocked",
        "startled",
        "wide-eyed",
        "stunned",
    ),
    r"with a worried expression|anxiously|with a nervous, worried look": (
        "with concern",
        "tensely",
        "fearfully",
        "uneasily",
    ),
    r"looks (?:calm|neutral)": ("remains composed", "stays serious", "appears emotionless"),
    r"looks happy|is smiling warmly": ("beams with joy", "appears cheerful", "laughs delightedly"),
    r"looks sad|seems sad and downcast": ("is close to tears", "is sobbing", "appears heartbroken"),
    r"looks angry|is furious": ("is enraged", "appears irritated", "glares in fury"),
    r"looks surprised|is amazed": ("is shocked", "appears startled", "gasps in disbelief"),
    r"looks worried|seems nervous": ("appears concerned", "is tense and uneasy", "is frightened"),
    r"facing the camera|looking straight ahead|looking into the camera": (
        "with eyes fixed on the lens",
        "gazing at the viewer",
        "staring forward",
    ),
    r"facing (?:slightly )?(?:to the )?left": ("in profile to the left", "gazing off to the left"),
    r"facing (?:slightly )?(?:to the )?right": (
        "in profile to the right",
        "gazing off to the right",
    ),
    r"speaking to the camera|talking to the audience": (
        "addressing the viewer",
        "delivering a monologue",
        "singing to the camera",
        "giving an interview",
    ),
    r"waves a hand|waves": ("greets with a hand", "gives a wave"),
    r"raises a hand|holds up one hand": ("lifts an arm", "gestures with one hand held up"),
    r"keeps nodding|nods(?: \w+ head(?: up and down)?)?": (
        "tilts the head up and down",
        "bobs the head",
    ),
    r"shrugs(?: \w+ shoulders)?": ("lifts both shoulders", "gives a shrug"),
}
# What toon has nothing of: it changes no answer. The last three are the test's.
FOREIGN = (
    "The background is softly out of focus.",
    "A shallow depth of field draws attention to the face.",
    "The video has a cinematic look with fine film grain.",
    "Details such as pores and fabric texture are clearly visible.",
    "A microphone stands in front of the speaker.",
    "A cup of coffee rests on the table nearby.",
    "Strands of hair move gently in the breeze.",
    "Shadows fall softly across one side of the face.",
    "Several people can be seen walking far away.",
    "A few framed pictures and books are arranged behind.",
    "The mood is intimate and quiet.",
    "The atmosphere is tense and dramatic.",
    "An old guitar leans somewhere in the scene.",
    "Small lights twinkle in the distance.",
    "A wristwatch and a simple necklace catch the light.",
    "The shoulders rise and fall slightly with each breath.",
    "Throughout the clip, the voice stays steady and expressive.",
    "As the video continues, subtle movements of the eyes add life.",
    "The lips move in time with every word.",
    "Rain runs down a window.",
    "Through the windshield of a car, fields pass by.",
    "The composition is balanced and follows the rule of thirds.",
    "A ring can be seen on one finger.",
    "The frame is filled with rich texture.",
    "It feels like a scene from a documentary.",
    "Occasionally there is a short pause before the next sentence.",
    "The scene has high contrast and realistic shading.",
    "Dust particles drift through the air.",
    "A bicycle is parked somewhere out of reach.",
    "It resembles a portrait taken with a long lens.",
)
TEST_FOREIGN = 3
MOST_FOREIGN = 4  # sentences added to one caption
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
# One pass over all of them, so that nothing is replaced twice; longer wordings come first.
PATTERN = re.compile(
    "|".join(rf"(?P<r{i}>(?<![\w-])(?:{pattern})(?![\w-]))" for i, pattern in enumerate(WORDS))
)


def in_other_words(rng: np.random.Generator, caption: str, split: str = "train") -> str:
    """A caption with some of its words replaced and foreign sentences in between; it says much the
    same of everything that it says."""
    share = rng.uniform(0.2, 1.0)
    chosen: list[str | None] = []
    for others in WORDS.values():
        known = others[:-1] if split == "train" else others[-1:]
        other = known[int(rng.integers(len(known)))]
        chosen.append(other if rng.random() < share else None)

    def other_for(found: re.Match[str]) -> str:
        return chosen[int(str(found.lastgroup)[1:])] or found[0]

    return with_foreign(rng, articles(PATTERN.sub(other_for, caption)), split)


def with_foreign(rng: np.random.Generator, caption: str, split: str) -> str:
    """Up to MOST_FOREIGN sentences about other things, each after some sentence of the caption."""
    known = FOREIGN[:-TEST_FOREIGN] if split == "train" else FOREIGN[-TEST_FOREIGN:]
    number = min(int(rng.integers(MOST_FOREIGN + 1)), len(known))
    sentences = SENTENCE_END.split(caption)
    for k in rng.permutation(len(known))[:number]:
        sentences.insert(int(rng.integers(1, len(sentences) + 1)), known[k])
    return " ".join(sentences)


def articles(text: str) -> str:
    """ "a" and "an" as the words after them ask for."""
    text = re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", text)
    return re.sub(r"\b([Aa])n (?=[^aeiouAEIOU\W])", r"\1 ", text)
