"""Images: requests to image models; results are stored as files, and each request as a call."""

from stores.images.store import GeneratedImages, ImageInputs, ImagesStore

__all__ = ["GeneratedImages", "ImageInputs", "ImagesStore"]
