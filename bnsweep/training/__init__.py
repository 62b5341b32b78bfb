"""One stack through its steps."""
