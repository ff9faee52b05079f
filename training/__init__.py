"""Train the small text-to-image model that ships with tenstep."""
