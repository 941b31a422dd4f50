"""Text for people: digits, and what other people wrote made harmless."""
