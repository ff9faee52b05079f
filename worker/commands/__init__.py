"""The worker's commands, found by the command line through entry points."""
