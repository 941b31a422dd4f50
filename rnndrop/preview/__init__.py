"""What a dropout plan would drop, without a run."""
