"""Commands that the package of the command line finds here by its entry points."""
