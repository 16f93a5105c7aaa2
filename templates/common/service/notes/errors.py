"""The errors of this domain."""

from ..errors import ServiceError


class NoteNotFound(ServiceError):
    status = 404
    detail = "There is no note with this id."


class NoteChanged(ServiceError):
    """The note has another version than the one that was read."""

    status = 409
    detail = "The note was changed or deleted in the meantime, so nothing was written: try again."


class PreconditionFailed(ServiceError):
    status = 412
    detail = "If-Match does not name the current version of the note: read the note again."


class UpstreamFailed(ServiceError):
    status = 502
    detail = "The upstream answered with an error or with invalid content, so nothing was written."


class UpstreamTimeout(ServiceError):
    status = 504
    detail = "The upstream did not answer in time, so nothing was written."
