"""The procedural film set: stories, voices, drawing and films, with the truth of each known."""
