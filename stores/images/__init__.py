"""Images: what models of providers paint, kept as files and spoken of by the calls that they were made in."""

from stores.images.inputs import ImageInputs
from stores.images.store import Generated, ImagesStore

__all__ = ["Generated", "ImageInputs", "ImagesStore"]
