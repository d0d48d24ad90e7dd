"""Which model a message is about. The only thing in it that a proxy looks at."""

from __future__ import annotations

from typing import Final

from sealserve.inference.wire import message, names
from sealserve.inference.wire.infer import MAX_FIELDS
from sealserve.inference.wire.open_inference_pb2 import ModelInferRequest
from sealserve.native.errors import InputError

# Each of their requests has the model's name in its first field.
ABOUT_A_MODEL: Final = frozenset(
    {
        names.MODEL_INFER,
        names.MODEL_READY,
        names.MODEL_METADATA,
        names.MODEL_CONFIG,
        names.MODEL_STATISTICS,
    }
)
ABOUT_NONE: Final = frozenset(
    {names.SERVER_LIVE, names.SERVER_READY, names.SERVER_METADATA, names.REPOSITORY_INDEX}
)
_NAME: Final = ModelInferRequest.MODEL_NAME_FIELD_NUMBER
# Cut out so that nobody copies them.
_LARGE: Final = (
    ModelInferRequest.INPUTS_FIELD_NUMBER,
    ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER,
)


def model_of(data: bytes) -> str:
    """The model's name, "" if there is none.

    Steps over a bounded number of fields, whatever their length. Raises InputError for what is no
    message of such a call.
    """
    _, (found, *_) = message.split(data, _NAME, *_LARGE, max_fields=MAX_FIELDS)
    try:
        return str(found[-1], "utf-8") if found else ""  # of several protobuf takes the last
    except UnicodeDecodeError as error:
        raise InputError("the model's name is not UTF-8") from error
