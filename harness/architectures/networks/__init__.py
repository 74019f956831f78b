"""Networks written here; imported by the architecture of the same name when it is built."""
