"""Code of the user's: found by its dotted path, called, tried, and told apart by its source text."""
