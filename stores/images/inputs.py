"""What is asked of a model that paints, held to its rules; and what of that a provider is sent, model by model."""

from dataclasses import dataclass
from typing import Final

from stores import refs
from stores.errors import BadInputError
from stores.input_checks import MAX_NAME, check_length
from stores.providers import JsonObject

MAX_IMAGES: Final = 10
"""Of one request; no provider makes more."""

MAX_PROMPT: Final = 100_000
"""Characters; providers take fewer, OpenAI 32,000 at most."""

_DALL_E_3: Final = "dall-e-3"
_SIZE: Final = "1024x1024"


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """A prompt for a model, and how many images of it."""

    model: str
    prompt: str
    n: int | None = None

    def check(self) -> None:
        """Hold them to the rules that are the same for all models.

        Raises:
            BadInputError: one is broken; the error names the input under `inputs`.
        """
        for name, limit in (("model", MAX_NAME), ("prompt", MAX_PROMPT)):
            text: str = getattr(self, name)
            if not text:
                raise BadInputError(f"is required: {_WANTED[name]}", f"inputs.{name}")
            check_length(text, limit, f"inputs.{name}")
            refs.check_external(text, f"inputs.{name}")
        if self.n is not None and not 1 <= self.n <= MAX_IMAGES:
            raise BadInputError(f"{self.n} is no number of images; ask for 1 to {MAX_IMAGES}", "inputs.n")

    @property
    def given(self) -> JsonObject:
        """What was sent, as the call keeps it."""
        return {"model": self.model, "prompt": self.prompt} | ({} if self.n is None else {"n": self.n})

    def request(self, model: str) -> JsonObject:
        """What is asked of a provider, which calls the model so.

        Of models that are not OpenAI's nothing but the prompt and the number is known to be taken.

        Raises:
            BadInputError: the model does not make so many.
        """
        asked: JsonObject = {"model": model, "prompt": self.prompt, "n": self.n or 1}
        if model == _DALL_E_3:
            if asked["n"] > 1:
                raise BadInputError(f"{model} makes one image at a time; leave n out, and ask for each", "inputs.n")
            return asked | {"quality": "standard", "style": "natural", "size": _SIZE, "response_format": "b64_json"}
        if model.startswith("dall-e-"):
            return asked | {"size": _SIZE, "response_format": "b64_json"}
        if model.startswith("gpt-image-"):
            # These know no response_format: they answer in Base64 always.
            return asked | {"quality": "high", "size": _SIZE}
        return asked


_WANTED: Final = {"model": "the name of a model, such as openai/gpt-image-1", "prompt": "what is to be seen"}
