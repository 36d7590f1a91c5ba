"""The conductor and the front door: plan a search, run it, record it."""
