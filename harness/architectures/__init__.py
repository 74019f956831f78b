"""Networks, one file each. The file's name is the architecture's name."""
