"""Routes below ``/api``: everything that tenstep can do."""
