"""Two models side by side on this machine: what an image of each takes, and what it costs."""
