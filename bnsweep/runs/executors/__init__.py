"""Who trains the stacks: `base` says what an executor does; every other file is one of them."""
