"""What producers and workers both know. Imports neither side; no torch, no web framework."""
