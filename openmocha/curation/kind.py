"""Is a film photographed or drawn? Asked of each film where the setting is `faces: auto`.

Its first looks that show a face, by either finder, are judged: how sure the finder of drawn faces
is, against how sure MediaPipe's landmarks are of a face's presence. Each is often deceived by the
other's faces, but then less sure than of its own. The balance of the two was set on twelve toon
films and the 24 films of MoChaBench.
"""

import json
from collections.abc import Iterator
from functools import cache

import numpy as np

from openmocha.curation.faces import FaceFinder, Frame, photo_presence, toon_faces
from openmocha.curation.measure import Source, set_aside, stored, stored_path, unfit
from openmocha.curation.watch import decoded, picture

LOOK_EVERY_S = 0.5
LOOKS, SEARCHED_S = 10, 120.0  # with a face in them; where none is seen for so long, none will be
DRAWN = 22.5  # by which certainty of a drawn face (0 to 1) is weighed against presence (a logit)


def film_kind(source: Source) -> str:
    """ "photo" or "toon", or why this machine could not tell ("set aside: ..."). A film that shows
    no face, or is unfit, counts as photographed."""
    try:
        if unfit(source) is not None:
            return "photo"
        if stored(source, "kind", None, lambda: _judged(source)) is not None:
            return "photo"
        found: dict[str, str] = json.loads(stored_path(source, "kind", None).read_text())
        return found["kind"]
    except (OSError, MemoryError) as error:
        return set_aside(error)


def _judged(source: Source) -> bytes:
    presence, drawn = [], []
    for frame in looks(source):
        logit = photo_presence(frame)
        certainty = max((face.certainty for face in _drawn_finder()([frame])[0]), default=0.0)
        if logit > 0 or certainty > 0:
            presence.append(max(logit, 0.0))
            drawn.append(certainty)
        if len(drawn) == LOOKS:
            break
    is_drawn = bool(drawn) and DRAWN * np.mean(drawn) > np.median(presence)
    found = {"kind": "toon" if is_drawn else "photo", "presence": presence, "drawn": drawn}
    return json.dumps(found).encode()


def looks(source: Source) -> Iterator[Frame]:
    """Pictures of the first two minutes, two a second."""
    due_s = 0.0
    for time_s, frame in decoded(source.path):
        if time_s > SEARCHED_S:
            return
        if time_s >= due_s:
            due_s = time_s + LOOK_EVERY_S
            yield picture(frame)


@cache
def _drawn_finder() -> FaceFinder:
    """Loaded once in each process."""
    return toon_faces()
