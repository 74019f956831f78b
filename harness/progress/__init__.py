"""How far a study is: what is known of its trials, what is done, and what is missing."""
