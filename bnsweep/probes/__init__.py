"""What is read off a stack, and what theory says of it."""
