"""How files come to be: whole or not at all, one writer at a time."""
