"""Colours of the film set: every colour word of a story as RGB, and the shades made from it.

The words of one list are far apart in RGB, and lights tint by a few per cent only, so that a viewer
(or a small network) can name every colour under every light.
"""

from functools import lru_cache

RGB = tuple[int, int, int]

SKIN_RGB: dict[str, RGB] = {
    "pale": (255, 228, 214),
    "light": (247, 200, 164),
    "tan": (214, 156, 106),
    "brown": (154, 98, 62),
    "dark brown": (94, 58, 42),
}
FUR_RGB: dict[str, RGB] = {
    "orange": (240, 142, 58),
    "grey": (142, 148, 158),
    "white": (246, 245, 243),
    "brown": (142, 92, 56),
    "black": (58, 56, 64),
    "cream": (248, 222, 172),
}
METAL_RGB: dict[str, RGB] = {
    "silver": (196, 204, 214),
    "blue": (72, 132, 216),
    "red": (208, 66, 62),
    "gold": (230, 184, 64),
    "teal": (44, 168, 162),
}
HAIR_RGB: dict[str, RGB] = {
    "black": (36, 32, 40),
    "brown": (112, 68, 38),
    "blond": (240, 202, 98),
    "red": (198, 76, 32),
    "grey": (148, 150, 158),
    "white": (242, 242, 240),
    "blue": (58, 108, 222),
    "pink": (246, 120, 182),
}
CLOTH_RGB: dict[str, RGB] = {
    "red": (216, 46, 52),
    "orange": (244, 136, 34),
    "yellow": (252, 214, 58),
    "green": (52, 158, 82),
    "blue": (46, 98, 210),
    "purple": (130, 70, 182),
    "pink": (248, 142, 188),
    "white": (246, 246, 248),
    "black": (40, 40, 48),
    "grey": (144, 148, 156),
    "brown": (126, 82, 50),
}
# Backgrounds are a little calmer than clothes, so that the character stands out.
BACKGROUND_RGB: dict[str, RGB] = {
    "red": (204, 58, 62),
    "orange": (242, 148, 58),
    "yellow": (246, 216, 104),
    "green": (82, 172, 98),
    "blue": (66, 130, 230),
    "purple": (134, 88, 194),
    "pink": (248, 160, 200),
    "white": (240, 240, 242),
    "black": (54, 55, 64),
    "grey": (158, 162, 170),
    "brown": (132, 90, 60),
}
# Of each light: the tint laid over the frame, its strength, and the rim on hair and shoulders.
LIGHT_TINT: dict[str, tuple[RGB, float, RGB]] = {
    "soft daylight": ((255, 255, 250), 0.03, (255, 255, 244)),
    "warm evening light": ((255, 148, 48), 0.075, (255, 206, 120)),
    "cool night light": ((36, 64, 190), 0.08, (150, 196, 255)),
}
WHITE: RGB = (255, 255, 255)
INK: RGB = (34, 28, 40)
# Accessories take a colour that no shade of the clothes can be mistaken for.
ACCENT_RGB: dict[str, RGB] = {
    "red": (44, 62, 120),
    "orange": (40, 92, 120),
    "yellow": (176, 52, 92),
    "green": (240, 196, 84),
    "blue": (244, 176, 62),
    "purple": (246, 204, 92),
    "pink": (70, 92, 170),
    "white": (206, 62, 70),
    "black": (222, 82, 72),
    "grey": (196, 70, 92),
    "brown": (84, 166, 158),
}


@lru_cache(maxsize=4096)
def mix(first: RGB, second: RGB, share: float) -> RGB:
    """The colour `share` (0..1) of the way from `first` to `second`."""
    r, g, b = (round(p + (q - p) * share) for p, q in zip(first, second, strict=True))
    return r, g, b


def darker(colour: RGB, share: float) -> RGB:
    """A shade: towards a deep violet rather than black, which keeps shadows alive."""
    return mix(colour, (40, 18, 56), share)


def lighter(colour: RGB, share: float) -> RGB:
    return mix(colour, WHITE, share)


def luma(colour: RGB) -> float:
    """Brightness 0..255 (Rec. 601 weights)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def colour_of(words: dict[str, RGB], word: str, what: str) -> RGB:
    """The RGB of a colour word; raises ValueError with the words known."""
    if word not in words:
        raise ValueError(f"unknown {what} {word!r}; expected one of {', '.join(words)}")
    return words[word]
