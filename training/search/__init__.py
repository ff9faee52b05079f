"""Which U-Net is worth training: a family of them, what its members cost, and how good they are."""
