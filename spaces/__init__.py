"""What may vary: distributions, search spaces, constraints. Floor 0: imports nothing of ours."""
