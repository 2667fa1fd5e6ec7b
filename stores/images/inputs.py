"""Inputs of image requests, validated, and the provider request per model."""

from dataclasses import dataclass
from typing import Final

from stores import refs
from stores.errors import BadInputError
from stores.input_checks import MAX_NAME, check_length
from stores.providers import JsonObject

MAX_IMAGES: Final = 10
"""Limit on the images of one request; no provider makes more."""

MAX_PROMPT: Final = 100_000
"""Limit on the characters of a prompt. Providers accept fewer; OpenAI at most 32,000."""

_DALL_E_3: Final = "dall-e-3"
_SIZE: Final = "1024x1024"


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """A prompt for an image model, and the number of images."""

    model: str
    prompt: str
    n: int | None = None

    def check(self) -> None:
        """Check the rules that apply to all models.

        Raises:
            BadInputError: an input is invalid; the argument is `inputs.<name>`.
        """
        for name, limit in (("model", MAX_NAME), ("prompt", MAX_PROMPT)):
            text: str = getattr(self, name)
            if not text:
                raise BadInputError(f"is required: {_DESCRIPTIONS[name]}", f"inputs.{name}")
            check_length(text, limit, f"inputs.{name}")
            refs.check_external(text, f"inputs.{name}")
        if self.n is not None and not 1 <= self.n <= MAX_IMAGES:
            raise BadInputError(f"{self.n} images are not allowed; request 1 to {MAX_IMAGES}", "inputs.n")

    @property
    def given(self) -> JsonObject:
        """The inputs as stored in the call."""
        return {"model": self.model, "prompt": self.prompt} | ({} if self.n is None else {"n": self.n})

    def request(self, model: str) -> JsonObject:
        """Build the provider request; `model` is the provider's name for the model.

        Models not made by OpenAI get only the prompt and the number, the only parameters known to work.

        Raises:
            BadInputError: the model does not make that many images.
        """
        body: JsonObject = {"model": model, "prompt": self.prompt, "n": self.n or 1}
        if model == _DALL_E_3:
            if body["n"] > 1:
                raise BadInputError(f"{model} makes one image per request; leave out n", "inputs.n")
            return body | {"quality": "standard", "style": "natural", "size": _SIZE, "response_format": "b64_json"}
        if model.startswith("dall-e-"):
            return body | {"size": _SIZE, "response_format": "b64_json"}
        if model.startswith("gpt-image-"):
            # These models reject response_format; they always return Base64.
            return body | {"quality": "high", "size": _SIZE}
        return body


_DESCRIPTIONS: Final = {
    "model": "the name of a model, such as openai/gpt-image-1",
    "prompt": "a description of the image",
}
