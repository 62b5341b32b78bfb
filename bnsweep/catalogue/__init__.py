"""What there is to choose from, one row each. Rows are read without torch: settings check names against them, and the
report knows what the names mean."""
