"""What a run is: its settings, their composition, their identity. No torch."""
