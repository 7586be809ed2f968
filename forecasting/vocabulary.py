"""What the ids of a language model's words stand for."""

from pathlib import Path
from typing import Any

from forecasting.language_model import import_transformers, locate
from foretell.errors import UserError

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "tokenizer.model",
)  # fmt: skip
UNREADABLE = "\ufffd"


class Vocabulary:
    """Words by their ids.

    Args:
        name: Folder, package or name of the language model. Where its folder has no tokenizer,
            words are called by their ids.

    Raises:
        UserError: No such model, a tokenizer that cannot be read.
    """

    def __init__(self, name: str) -> None:
        folder = Path(locate(name))
        self.tokenizer: Any = None
        if any((folder / file).is_file() for file in TOKENIZER_FILES):
            try:
                self.tokenizer = import_transformers().AutoTokenizer.from_pretrained(
                    folder, local_files_only=True
                )
            except (OSError, ValueError, KeyError) as error:
                raise UserError(
                    f"the tokenizer in {folder} cannot be read: {str(error).splitlines()[0]}"
                ) from None

    def word(self, number: int) -> str:
        """The text of an id; the raw token where it is a part of a character, `#` and the id
        without a tokenizer."""
        if self.tokenizer is None:
            return f"#{number}"
        text: str = self.tokenizer.decode([number]).strip()
        if text and UNREADABLE not in text:
            return text
        token = self.tokenizer.convert_ids_to_tokens(number)
        return f"#{number}" if token is None else str(token)
