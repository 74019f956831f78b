"""Records small enough to keep with the code, and the comparison of two folders of them."""
