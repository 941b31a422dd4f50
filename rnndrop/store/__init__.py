"""What lies in the folders of runs, and how it is read and written. No torch, but for checkpoints."""
