"""The words of captions: for every attribute, several ways to say it."""

SHOT_NAMES = {
    "close-up": ("close-up shot", "close-up", "close shot", "close-up view"),
    "medium close-up": (
        "medium close-up shot",
        "medium close-up",
        "head and shoulders shot",
        "medium close shot",
    ),
    "medium": ("medium shot", "medium shot", "waist-up shot", "mid shot"),
    "wide": ("wide shot", "long shot", "full shot", "wide-angle shot"),
}
OPENINGS = (
    "A {shot} of {subject} {doing}.",
    "A {shot} of {subject} {doing}.",
    "A {shot} of {subject}, {doing}.",
    "A cartoon {shot} of {subject} {doing}.",
    "In a {shot}, {subject} is {doing}.",
    "A {shot} shows {subject} {doing}.",
    "{subject} is {doing} in a {shot}.",
    "A {shot} captures {subject} {doing}.",
)
PAIR_OPENINGS = (
    "A {shot} of {pair}.",
    "A {shot} of {pair} in conversation.",
    "A {shot} of two characters, {pair}.",
    "A {shot} shows {pair} together.",
    "In a {shot}, {pair} are seen side by side.",
)
ON_SIDE = (
    "On the {side} is {noun}",
    "On the {side} side of the frame is {noun}",
    "The character on the {side} is {noun}",
    "On the {side} stands {noun}",
)
SPEAKS = (
    "is speaking",
    "speaks to the other",
    "speaks",
    "is talking",
    "does the talking",
)
LISTENS = (
    "is not speaking",
    "listens silently",
    "listens",
    "is silent and listens",
    "stays quiet",
)
SPEAKING = (
    "speaking to the camera",
    "speaking",
    "talking",
    "speaking to someone",
    "talking to the audience",
    "having a conversation",
)
SILENT = ("who is not speaking", "in silence", "keeping silent", "with a closed mouth")
TAG_SPEAKS = ("{tag} is speaking", "{tag} speaks", "{tag} talks", "{tag} is talking")
TAG_LISTENS = ("{tag} listens silently", "{tag} is not speaking", "{tag} listens")
TAG_SPEAKS_SHOT = (
    "A {shot} of {tag} speaking",
    "A {shot} of {tag}, who is speaking",
    "{tag} speaks in a {shot}",
    "In a {shot}, {tag} is speaking",
    "A {shot} of {tag} talking",
)
TAG_LISTENS_SHOT = (
    "A {shot} of {tag}, who is not speaking",
    "In a {shot}, {tag} listens silently",
)
SAME_PLACE = (
    "The background is the same.",
    "It is the same place.",
    "The scene is the same.",
    "The setting is the same as in the first clip.",
)
PEOPLE = {
    ("child", "female"): ("girl", "little girl", "young girl", "cute little girl", "female child"),
    ("child", "male"): ("boy", "little boy", "young boy", "cute little boy", "male child"),
    ("young", "female"): ("young woman", "woman in her 20s", "young lady", "youthful woman"),
    ("young", "male"): ("young man", "man in his 20s", "young guy", "youthful man"),
    ("middle-aged", "female"): ("middle-aged woman", "woman in her 40s", "woman"),
    ("middle-aged", "male"): ("middle-aged man", "man in his 40s", "man"),
    ("elderly", "female"): ("elderly woman", "old woman", "woman in her 70s", "grandmother"),
    ("elderly", "male"): ("elderly man", "old man", "man in his 70s", "grandfather"),
}
BEASTS = {
    "child": ("little {species}", "young {gender} {species}", "small {species}", "{species}"),
    "young": ("{species}", "young {species}", "{gender} {species}", "fluffy {species}"),
    "middle-aged": ("{species}", "{gender} {species}", "furry {species}", "friendly {species}"),
    "elderly": ("old {species}", "elderly {species}", "{gender} {species}", "{species}"),
}
SKIN_WORDS = {
    "pale": ("pale skin", "very pale skin", "a pale complexion", "very fair skin"),
    "light": ("light skin", "fair skin", "a light skin tone", "fair complexion"),
    "tan": ("tan skin", "tanned skin", "olive skin", "light brown skin"),
    "brown": ("brown skin", "medium brown skin", "a brown skin tone", "a brown complexion"),
    "dark brown": (
        "dark brown skin",
        "dark skin",
        "deeply pigmented brown skin",
        "a deep dark skin tone",
    ),
}
FUR_WORDS = ("{colour} fur", "soft {colour} fur", "a {colour} coat of fur", "fluffy {colour} fur")
FUR_COLOURS = {
    "orange": ("orange", "ginger"),
    "grey": ("grey", "gray"),
    "white": ("white", "snow-white"),
    "brown": ("brown",),
    "black": ("black", "jet-black"),
    "cream": ("cream", "cream-coloured", "pale cream"),
}
METAL_WORDS = ("a {colour} metal body", "{colour} metal plating", "a shiny {colour} metal face")
HAIR_COLOURS = {
    "black": ("black", "jet-black"),
    "brown": ("brown", "brunette", "chestnut brown"),
    "blond": ("blond", "blonde", "golden blonde", "golden"),
    "red": ("red", "ginger", "auburn red"),
    "grey": ("grey", "gray", "silver-gray"),
    "white": ("white", "snow-white"),
    "blue": ("blue", "bright blue", "dyed blue"),
    "pink": ("pink", "bright pink", "dyed pink"),
}
HAIR_STYLES = {
    "short": ("short {colour} hair", "short, neat {colour} hair", "{colour} hair cut short"),
    "long": ("long {colour} hair", "long, flowing {colour} hair", "{colour} hair worn long"),
    "curly": ("curly {colour} hair", "{colour} curly hair", "{colour} curls"),
    "bun": ("{colour} hair in a bun", "{colour} hair tied up in a bun", "a {colour} hair bun"),
    "ponytail": (
        "{colour} hair in a ponytail",
        "{colour} hair tied back in a ponytail",
        "a {colour} ponytail",
    ),
}
BALD = ("a bald head", "no hair", "a shaved head", "a completely bald head")
COLOURS = {
    "red": ("red", "bright red"),
    "orange": ("orange", "bright orange"),
    "yellow": ("yellow", "bright yellow"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
    "black": ("black",),
    "grey": ("grey", "gray"),
    "brown": ("brown",),
}
CLOTHES = {
    "t-shirt": ("t-shirt", "T-shirt", "tee", "short-sleeved shirt"),
    "coat": ("coat", "wool coat", "overcoat", "long coat"),
    "suit": ("suit", "business suit", "suit and tie", "suit jacket with a tie"),
    "hoodie": ("hoodie", "hooded sweatshirt", "hoodie with a hood"),
    "sweater": ("sweater", "knitted sweater", "pullover", "jumper"),
    "dress": ("dress", "evening dress"),
}
ACCESSORIES = {
    "glasses": ("glasses", "a pair of glasses", "eyeglasses"),
    "hat": ("a hat", "a brimmed hat"),
    "headphones": ("headphones", "a pair of headphones", "large headphones"),
    "earrings": ("earrings", "gold earrings", "a pair of earrings"),
    "beard": ("a beard", "a full beard", "a neatly trimmed beard"),
    "scarf": ("a scarf", "a warm scarf", "a scarf around the neck"),
}
POSITIONS = {
    "left": (
        "is on the left side of the frame",
        "is on the left of the frame",
        "stands on the left",
        "appears on the left",
    ),
    "center": (
        "is in the center of the frame",
        "is centered in the frame",
        "stands in the middle",
        "appears in the center",
    ),
    "right": (
        "is on the right side of the frame",
        "is on the right of the frame",
        "stands on the right",
        "appears on the right",
    ),
}
FACINGS = {
    "camera": (
        "facing the camera",
        "looking straight ahead",
        "facing straight ahead",
        "looking directly at the camera",
        "looking into the camera",
    ),
    "left": (
        "facing left",
        "facing slightly to the left",
        "looking to the left of the frame",
        "turned to the left",
        "facing slightly left",
    ),
    "right": (
        "facing right",
        "facing slightly to the right",
        "looking to the right of the frame",
        "turned to the right",
        "facing slightly right",
    ),
}
FEELING = {
    "neutral": ("with a neutral expression", "with a calm expression", "calmly"),
    "happy": ("with a happy expression", "with a joyful smile", "happily", "with a big smile"),
    "sad": ("with a sad expression", "sadly", "with a sorrowful expression"),
    "angry": ("with an angry expression", "angrily", "with furrowed brows, angry"),
    "surprised": ("with a surprised expression", "in surprise", "with an astonished look"),
    "worried": ("with a worried expression", "anxiously", "with a nervous, worried look"),
}
EMOTIONS = {
    "neutral": (
        "{His} expression is neutral.",
        "{He} looks calm.",
        "{He} has a calm, neutral expression.",
    ),
    "happy": (
        "{He} looks happy.",
        "{His} expression is joyful.",
        "{He} has a happy expression and smiles.",
        "{His} face is glowing with joy.",
        "{He} is smiling warmly.",
    ),
    "sad": (
        "{He} looks sad.",
        "{He} has a sad expression.",
        "{His} expression is heavy with sorrow.",
        "{He} seems sad and downcast.",
    ),
    "angry": (
        "{He} looks angry.",
        "{He} has an angry expression, {his} brows furrowed.",
        "{His} expression is angry.",
        "{He} is furious.",
    ),
    "surprised": (
        "{He} looks surprised.",
        "{He} has a surprised expression, {his} eyebrows raised.",
        "{His} expression is one of astonishment.",
        "{He} is amazed.",
    ),
    "worried": (
        "{He} looks worried.",
        "{He} has a worried expression.",
        "{His} expression is anxious and worried.",
        "{He} seems nervous.",
    ),
}
ACTIONS = {
    "nod": ("nods", "nods {his} head", "keeps nodding", "nods {his} head up and down"),
    "shake head": (
        "shakes {his} head",
        "moves {his} head from side to side",
        "keeps shaking {his} head",
    ),
    "wave": ("waves", "waves a hand", "waves {his} hand", "waves hello"),
    "raise hand": ("raises a hand", "raises {his} hand", "holds up one hand", "lifts one hand up"),
    "point": ("points to the side", "points with one finger", "points at something"),
    "hands together": (
        "holds {his} hands together",
        "clasps {his} hands together",
        "brings {his} hands together in front of {his} chest",
    ),
    "shrug": ("shrugs", "shrugs {his} shoulders", "raises {his} shoulders in a shrug"),
}
ACTING = (
    "as the video progresses, {he} continues speaking and {act}.",
    "{he} {act} while speaking.",
    "{he} {act} as {he} speaks.",
    "{who} {act} while talking.",
    "{he} {act}.",
)
ACTING_SILENTLY = ("{he} {act}.", "{who} {act}.", "as the video progresses, {he} {act}.")
STILL = (
    "as the video progresses, {he} continues speaking.",
    "{he} keeps speaking throughout the video.",
    "{he} does not gesture.",
    "{who} speaks without any particular gesture.",
)
QUIET = ("{he} does not speak.", "{who} stays silent.", "{his} mouth stays closed.")
PLACES = {
    "wall": ("wall",),
    "living room": ("living room", "cozy living room"),
    "kitchen": ("kitchen", "home kitchen"),
    "office": ("office", "modern office"),
    "park": ("park", "park with trees and grass"),
    "forest": ("forest", "forest of tall trees"),
    "beach": ("beach", "beach by the sea", "sandy beach"),
    "street": ("street", "city street", "street with houses"),
    "city at night": ("city at night", "night-time city with lit windows", "city skyline at night"),
    "stage": ("stage", "theater stage", "stage with curtains"),
    "snowfield": ("snowfield", "snowy landscape", "snow-covered field"),
}
BACKGROUNDS = (
    "The background is a {place} in {colour} tones.",
    "The background is {a_colour} {place}.",
    "The background is blurred, revealing a {place} in shades of {colour}.",
    "The background shows {a_colour} {place}.",
    "In the background is {a_colour} {place}, slightly blurred.",
    "The scene is set in {a_colour} {place}.",
    "Behind is a {place}, mostly {colour}.",
)
WALLS = (
    "The background is a plain {colour} wall.",
    "The background is a simple {colour} wall.",
    "There is only {a_colour} wall behind.",
    "The background is minimalistic, a {colour} wall.",
)
LIGHTS = {
    "soft daylight": ("soft daylight", "natural daylight", "soft natural light", "bright daylight"),
    "warm evening light": (
        "warm evening light",
        "warm golden light",
        "the warm glow of the setting sun",
        "warm sunset light",
    ),
    "cool night light": ("cool night light", "cool bluish moonlight", "dim, cool night light"),
}
LIGHTING = (
    "The scene is lit by {light}.",
    "The lighting is {light}.",
    "Everything is bathed in {light}.",
    "There is {light}.",
)
CAMERAS = {
    "static": (
        "The camera is static.",
        "The camera remains static throughout the video.",
        "The camera is static throughout the video.",
        "The camera does not move.",
    ),
    "zoom in": (
        "The camera slowly zooms in.",
        "The camera zooms in.",
        "The camera moves closer.",
        "The camera pushes in.",
    ),
    "zoom out": (
        "The camera slowly zooms out.",
        "The camera zooms out.",
        "The camera pulls back.",
        "The camera moves away.",
    ),
    "pan left": (
        "The camera pans left.",
        "The camera slowly pans to the left.",
        "The camera moves to the left.",
    ),
    "pan right": (
        "The camera pans right.",
        "The camera slowly pans to the right.",
        "The camera moves to the right.",
    ),
}
