"""Where a run's numbers go besides its folder. Each tracker works in a process of its own, which no run waits for."""
