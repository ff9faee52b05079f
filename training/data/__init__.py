"""Pictures with captions: where they come from, and which of them training sees."""
