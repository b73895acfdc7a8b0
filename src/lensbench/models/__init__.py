"""Models: found, loaded, taken apart and put through the gate."""
