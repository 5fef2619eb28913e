"""Raw video in, training shards out, a reason for every rejection."""
