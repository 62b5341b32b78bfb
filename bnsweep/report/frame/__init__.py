"""A sweep as data: its grid, its metrics, its design."""
