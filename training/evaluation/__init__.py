"""How well models draw: distances, retrieval, precision and recall, the error of solvers."""
