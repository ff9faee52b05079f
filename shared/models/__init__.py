"""Models by name: what a producer must know of them. Weights that ship with tenstep lie here."""
