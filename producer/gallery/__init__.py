"""A batch on one page of HTML that needs nothing but itself."""

from producer.gallery.write import Gallery, write_gallery

__all__ = ["Gallery", "write_gallery"]
