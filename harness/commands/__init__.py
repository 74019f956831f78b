"""What each command does, as a function of its name; ``import harness`` offers them, and the command line calls them."""
