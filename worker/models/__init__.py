"""Networks and the folders they are loaded from."""
