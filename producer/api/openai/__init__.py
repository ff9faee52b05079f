"""Routes below ``/v1``: what clients of OpenAI's API expect."""
