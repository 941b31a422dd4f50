"""One of each thing that can be added, each in one file, as somebody else would write it."""
