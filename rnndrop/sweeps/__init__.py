"""Many runs: on this machine or a cluster, in a grid, an ablation or a search."""
