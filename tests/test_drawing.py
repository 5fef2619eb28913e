"""The drawing shows what the words say, the mouth moves where the mouth box is, at any size."""

from dataclasses import replace

import numpy as np
import pytest

try:
    import skia  # noqa: F401
except ImportError as error:
    pytest.skip(
        f"skia cannot be imported ({error}); try `apt-get install libegl1 libgl1`",
        allow_module_level=True,
    )

from openmocha.toon.drawing import draw_frame
from openmocha.toon.palette import CLOTH_RGB, FUR_RGB, HAIR_RGB, METAL_RGB, SKIN_RGB
from openmocha.toon.poses import Arm, Pose, View
from openmocha.toon.stories import (
    ACCESSORIES,
    CLOTHES,
    HAIR_STYLES,
    LIGHTS,
    PLACES,
    SHOTS,
    SPECIES,
    Cast,
    Character,
    Clip,
    Story,
)

WOMAN = Character(
    "person", "young", "female", "light", "brown", "short", "sweater", "red", "none", 1
)


def _draw(
    character=WOMAN,
    shot="close-up",
    pose=None,
    view=None,
    size=(128, 128),
    place="wall",
    background="blue",
    light=LIGHTS[0],
):
    clip = Clip(shot, "static", (Cast(0, "camera", "center", "neutral", "none"),), 0, "hello")
    story = Story(1, "close-up", (character,), (clip,), place, background, light)
    return draw_frame(story, clip, [pose or Pose()], view or View(), *size)[:2]


def _of_species(species):
    skin = {"person": "light", "robot": "silver"}.get(species, "orange")
    return replace(WOMAN, species=species, skin=skin)


def _changed(first, second):
    return np.abs(first.astype(int) - second.astype(int)).max(axis=2) > 24


def _gap(frame, box):
    """Rows of the mouth box whose middle column is not skin or lips: dark, teeth or tongue."""
    x0, y0, x1, y1 = box.round().astype(int)
    column = frame[y0:y1, (x0 + x1) // 2].astype(int)
    closed = _draw(pose=Pose(mouth=(0.0, 0.0, 1.0, 0.0)))[0][y0:y1, (x0 + x1) // 2].astype(int)
    return int((np.abs(column - closed).max(axis=1) > 24).sum())


def test_the_opening_grows_with_open():
    gaps = []
    for opened in (0.0, 0.25, 0.5, 0.75, 1.0):
        frame, boxes = _draw(pose=Pose(mouth=(opened, 0.0, 0.0, 0.0)))
        gaps.append(_gap(frame, boxes[0]))
    assert all(a < b for a, b in zip(gaps[1:], gaps[2:], strict=False)), gaps
    assert gaps[-1] >= gaps[0] + 8, gaps


def test_pressed_lips_are_closed_however_open_the_jaw():
    inside = np.array([62, 12, 24])
    for opened, expected in ((1.0, True), (0.0, False)):
        frame, boxes = _draw(pose=Pose(mouth=(opened, 0.0, 0.0, 0.0)))
        pressed, _ = _draw(pose=Pose(mouth=(opened, 0.0, 1.0, 0.0)))
        x0, y0, x1, y1 = boxes[0].round().astype(int)
        dark = (np.abs(frame[y0:y1, x0:x1].astype(int) - inside).max(axis=2) < 30).sum() > 40
        assert dark == expected
        assert (np.abs(pressed[y0:y1, x0:x1].astype(int) - inside).max(axis=2) < 16).sum() < 12


def test_spread_lips_are_wider_than_rounded_ones():
    inside, widths = np.array([62, 12, 24]), []
    for spread in (-1.0, 0.0, 1.0):
        frame, boxes = _draw(pose=Pose(mouth=(0.8, spread, 0.0, 0.0)))
        x0, y0, x1, y1 = boxes[0].round().astype(int)
        dark = np.abs(frame[y0:y1, x0:x1].astype(int) - inside).max(axis=2) < 30
        widths.append(int(dark.any(axis=0).sum()))
    assert widths[0] + 6 < widths[1] < widths[2] - 2, widths


@pytest.mark.parametrize("species", SPECIES)
@pytest.mark.parametrize("yaw", [-0.5, 0.0, 0.5])
def test_the_mouth_box_holds_what_the_mouth_changes(species, yaw):
    character = _of_species(species)
    shapes = [
        (1.0, 1.0, 0.0, 0.0),
        (1.0, -1.0, 0.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, 1.0),
    ]
    frames, boxes = zip(
        *(_draw(character, pose=Pose(mouth=m, head=(yaw, 0.0, 0.1))) for m in shapes), strict=True
    )
    x0, y0, x1, y1 = boxes[0][0]
    changed = np.any([_changed(frames[0], frame) for frame in frames[1:]], axis=0)
    inside = np.zeros_like(changed)
    inside[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    assert changed[inside].sum() > 100
    assert changed[~inside].sum() <= 0.12 * changed.sum()
    assert all(np.array_equal(box, boxes[0]) for box in boxes)


@pytest.mark.parametrize("species", SPECIES)
def test_a_close_up_has_a_mouth_of_at_least_24_pixels(species):
    character = _of_species(species)
    shut, _ = _draw(character, pose=Pose(mouth=(0.0, 0.0, 1.0, 0.0)))
    frame, boxes = _draw(character, pose=Pose(mouth=(0.6, 0.0, 0.0, 0.0)))
    assert boxes[0, 2] - boxes[0, 0] >= 24
    top, bottom = boxes[0, [1, 3]].round().astype(int)
    lips = _changed(frame, shut)[top : (top + bottom) // 2]  # the jaw line lies below
    assert lips.any(axis=0).sum() >= 24


def test_mouths_shrink_with_the_shot():
    widths = [float(np.diff(_draw(shot=shot)[1][0, [0, 2]])[0]) for shot in SHOTS]
    assert all(a > 1.4 * b for a, b in zip(widths, widths[1:], strict=False)), widths


def _near(frame, region, colour, reach=42):
    """Share of the pixels of a region x0 y0 x1 y1 that look like `colour`."""
    x0, y0, x1, y1 = region
    patch = frame[y0:y1, x0:x1].reshape(-1, 3).astype(float)
    return float((np.abs(patch - np.array(colour)).max(axis=1) < reach).mean())


@pytest.mark.parametrize("light", LIGHTS)
def test_colours_are_those_of_the_words(light):
    forehead, crown, chest = (52, 28, 76, 34), (50, 6, 78, 14), (34, 118, 94, 127)
    for skin, rgb in SKIN_RGB.items():
        frame, _ = _draw(replace(WOMAN, skin=skin, hair_style="bald"), light=light)
        assert _near(frame, forehead, rgb) > 0.6, skin
    for hair, rgb in HAIR_RGB.items():
        frame, _ = _draw(replace(WOMAN, hair_colour=hair), light=light)
        assert _near(frame, crown, rgb) > 0.5, hair
    for colour, rgb in CLOTH_RGB.items():
        frame, _ = _draw(replace(WOMAN, clothes_colour=colour), light=light)
        assert _near(frame, chest, rgb) > 0.5, colour
    for fur, rgb in FUR_RGB.items():
        frame, _ = _draw(replace(WOMAN, species="bear", skin=fur), light=light)
        assert _near(frame, forehead, rgb) > 0.6, fur
    for metal, rgb in METAL_RGB.items():
        frame, _ = _draw(replace(WOMAN, species="robot", skin=metal), light=light)
        assert _near(frame, (92, 62, 96, 84), rgb) > 0.6, metal


def test_every_word_changes_the_picture():
    def all_differ(frames):
        for i, first in enumerate(frames):
            for second in frames[i + 1 :]:
                assert _changed(first, second).sum() > 40

    all_differ([_draw(_of_species(s))[0] for s in SPECIES])
    all_differ([_draw(replace(WOMAN, hair_style=s))[0] for s in HAIR_STYLES])
    all_differ([_draw(replace(WOMAN, clothes=c))[0] for c in CLOTHES])
    all_differ([_draw(replace(WOMAN, accessory=a))[0] for a in ACCESSORIES])
    all_differ([_draw(place=p)[0] for p in PLACES])
    ages = ("child", "young", "middle-aged", "elderly")
    all_differ([_draw(replace(WOMAN, age=a))[0] for a in ages])


def test_drawing_is_deterministic():
    pose = Pose(mouth=(0.4, 0.2, 0.0, 0.0), head=(0.3, 0.1, -0.2), right_arm=Arm(0.8, 0.5, 0.5))
    first = _draw(shot="medium", pose=pose, view=View(1.1, (0.03, 0.0)), place="park")
    second = _draw(shot="medium", pose=pose, view=View(1.1, (0.03, 0.0)), place="park")
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("size", [(64, 64), (224, 128), (96, 160), (301, 177)])
def test_any_size_scales_with_the_short_side(size):
    reference = _draw(shot="medium")[1][0]
    frame, boxes = _draw(shot="medium", size=size)
    assert frame.shape == (size[1], size[0], 3) and frame.dtype == np.uint8
    width, expected = boxes[0, 2] - boxes[0, 0], (reference[2] - reference[0]) * min(size) / 128
    assert width == pytest.approx(expected, rel=0.02)


def test_users_mistakes_are_named():
    with pytest.raises(ValueError, match="unknown place 'moon'"):
        _draw(place="moon")
    with pytest.raises(ValueError, match="unknown skin 'mauve'"):
        _draw(replace(WOMAN, skin="mauve"))
    with pytest.raises(ValueError, match="at least 16"):
        _draw(size=(8, 128))
