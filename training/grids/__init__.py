"""Searches the timesteps at which a few steps come nearest to what many steps draw."""
