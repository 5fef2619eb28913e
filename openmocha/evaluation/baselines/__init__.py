"""Other people's systems, run by their own commands in their own environments, never imported."""
