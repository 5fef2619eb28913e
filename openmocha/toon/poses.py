"""What a character does at one instant, and how the camera sees the shot at that instant."""

from dataclasses import dataclass

HANDS = ("open", "fist", "point")


@dataclass(frozen=True)
class Arm:
    """One arm: `lift` 0 hanging .. 1 hand at head height, `reach` -1 across the body .. 1 out to
    the side, `bend` 0 straight elbow .. 1 folded, `hand` one of HANDS."""

    lift: float = 0.0
    reach: float = 0.0
    bend: float = 0.0
    hand: str = "open"


@dataclass(frozen=True)
class Pose:
    """One character at one instant, as seen by the viewer (+x is the viewer's right, +y up).

    mouth: open 0..1, spread -1 rounded .. 1 spread, pressed 0..1, teeth 0..1.
    blink: 0 open .. 1 closed.  gaze: x, y in -1..1, relative to the head.  brow: -1 low .. 1
    raised.  frown: -1 inner ends up (worried, sad) .. 1 inner ends down (angry).  smile: -1..1.
    head: yaw (1 = full profile to the viewer's right), pitch (1 = looking up), roll (1 = tilted
    clockwise), each -1..1.  sway: displacement of the body, in head widths.  lean: roll of the
    torso, -1..1.  left_arm and right_arm are the arms on the viewer's left and right.
    """

    mouth: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    brow: float = 0.0
    frown: float = 0.0
    smile: float = 0.0
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)
    lean: float = 0.0
    left_arm: Arm = Arm()
    right_arm: Arm = Arm()
    shrug: float = 0.0


@dataclass(frozen=True)
class View:
    """The camera within the shot: zoom 1 is the shot as framed and 1.2 is 20% closer; pan moves
    the camera by a fraction of the frame's short side (+x: the camera moves to the right)."""

    zoom: float = 1.0
    pan: tuple[float, float] = (0.0, 0.0)
