"""Training: the method's contract, the loop, and what methods share. Importing this imports no PyTorch."""
