"""Two folders of results held against each other: how far their numbers are apart, and why."""
