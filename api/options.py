"""The options of an upload: text of form fields in, `JobOptions` out."""

from collections.abc import Mapping

from pydantic import ValidationError

from api.callbacks import check_callback
from api.errors import Refusal, RefusalCode
from api.settings import ApiSettings
from contract.job import JobOptions


def read_options(fields: Mapping[str, str], settings: ApiSettings) -> JobOptions:
    """The options that the form fields choose; what they leave out has its default.

    Raises:
        Refusal: `invalid_option` for an unknown name, a value out of range or a callback that will not be
            called, `unknown_model` for a model that is not on the operator's list.
    """
    try:
        options = JobOptions.model_validate({"model": settings.model, **fields})
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(JobOptions.model_fields)
            raise Refusal(
                RefusalCode.INVALID_OPTION, f"Unknown option: {name}. The options are {known}."
            ) from error
        raise Refusal(RefusalCode.INVALID_OPTION, f"Invalid {name}: {problem['msg']}.") from error
    if options.model not in settings.models:
        known = ", ".join(settings.models)
        raise Refusal(
            RefusalCode.UNKNOWN_MODEL, f"Unknown model: {options.model}. The models here are {known}."
        )
    if options.callback_url is not None:
        check_callback(options.callback_url, settings)
    return options
