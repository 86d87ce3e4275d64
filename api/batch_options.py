"""What is said of a batch beside its jobs: in the query of an NDJSON upload, or around the jobs of a JSON one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from api.problems import Problem, invalid
from api.validation import FieldError, field_errors, unknown_name
from darkroom.jobs import JobRequest, MetadataKey, MetadataValue, Strict, Webhook

Model = TypeVar("Model", bound=BaseModel)
OnInvalid = Literal["refuse", "skip"]
NDJSON_PARAMETERS = ("webhook_url", "webhook_events", "priority", "expires_in", "on_invalid", "metadata.KEY")
JSON_PARAMETERS = ("on_invalid",)
OF_ONE_JOB = frozenset({"custom_id"})
"""What defaults can't say: it is each job's own."""

_METADATA = "metadata."
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class JsonBatch(Strict):
    """The body of a JSON upload."""

    jobs: list[Any] = Field(description="Job requests, 50,000 at most")
    webhook: Webhook | None = Field(None, description="Told of the batch; of its jobs where `events` names theirs")
    metadata: Metadata = Field(default_factory=dict)
    defaults: dict[str, Any] = Field(default_factory=dict, description="Fields of the jobs that do not say them")


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Whom to tell, what to keep, what a job has that does not say it, and whether bad lines are passed over."""

    webhook: Webhook | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    on_invalid: OnInvalid = "refuse"

    def text(self) -> str:
        """Give a form in which equal ones are equal."""
        hook = None if self.webhook is None else self.webhook.model_dump_json()
        return repr((hook, sorted(self.metadata.items()), sorted(self.defaults.items(), key=str), self.on_invalid))


def check_defaults(defaults: dict[str, Any]) -> None:
    """Refuse defaults that no job could have.

    Raises:
        Problem: `validation_error`.
    """
    own = [
        FieldError(("body", "defaults", name), "is each job's own; leave it out") for name in OF_ONE_JOB & {*defaults}
    ]
    if own:
        raise invalid(own)
    validated(JobRequest, {"prompt": "x"} | defaults, ("body", "defaults"))


class _Query(Strict):
    webhook_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    webhook_events: list[str] | None = None
    priority: Literal["low", "normal", "high"] | None = None
    expires_in: int | None = Field(None, ge=1, le=5_184_000)
    on_invalid: OnInvalid = "refuse"
    metadata: Metadata = Field(default_factory=dict)


def ndjson_options(items: Iterable[tuple[str, str]]) -> BatchOptions:
    """Read the query of an NDJSON upload.

    Raises:
        Problem: `validation_error`, naming each wrong parameter.
    """
    query = _read_query(items, NDJSON_PARAMETERS)
    webhook = None
    if query.webhook_url is not None:
        fields = {"url": query.webhook_url, "events": query.webhook_events}
        webhook = validated(Webhook, fields, ("query", "webhook"))
    elif query.webhook_events is not None:
        raise invalid([FieldError(("query", "webhook_events"), "needs webhook_url beside it")])
    given = {"priority": query.priority, "expires_in": query.expires_in}
    defaults = {name: value for name, value in given.items() if value is not None}
    return BatchOptions(webhook, query.metadata, defaults, query.on_invalid)


def json_options(body: JsonBatch, items: Iterable[tuple[str, str]]) -> BatchOptions:
    """Read what stands around the jobs of a JSON upload, and its query; raises as `ndjson_options`."""
    check_defaults(body.defaults)
    return BatchOptions(body.webhook, body.metadata, body.defaults, _read_query(items, JSON_PARAMETERS).on_invalid)


def _read_query(items: Iterable[tuple[str, str]], known: Sequence[str]) -> _Query:
    fields: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in items:
        where = ("query", name[:80])
        if name.startswith(_METADATA) and "metadata.KEY" in known:
            metadata, key = fields.setdefault("metadata", {}), name.removeprefix(_METADATA)
            if key in metadata:
                errors.append(FieldError(where, "must be given once"))
            metadata[key] = value
        elif name not in known:
            errors.append(FieldError(where, unknown_name(name, known)))
        elif name == "webhook_events":
            fields.setdefault(name, []).extend(part.strip() for part in value.split(",") if part.strip())
        elif name in fields:
            errors.append(FieldError(where, "must be given once"))
        else:
            plain = value.isascii() and value.isdigit() and len(value) < 16
            fields[name] = int(value) if name == "expires_in" and plain else value
    if errors:
        raise invalid(errors)
    return validated(_Query, fields, ("query",))


def validated(model: type[Model], fields: dict[str, Any], root: tuple[str, ...]) -> Model:
    """Make a strict model of values that were read already.

    Raises:
        Problem: `validation_error`, naming each wrong field under `root`.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise invalid(field_errors(found, root=root, model=model)) from None


def too_few(errors: Sequence[FieldError]) -> Problem:
    """Say that no line of an upload is a job."""
    if errors:
        return invalid(errors)
    return invalid([FieldError(("body",), "the batch is empty; send a job request a line")])
