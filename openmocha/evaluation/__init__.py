"""Finished films in, scores and ratings out: nothing here needs to know which system made them."""
