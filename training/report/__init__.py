"""What training, the search and the solver's grids are worth: runs of this hardware, as a page."""
