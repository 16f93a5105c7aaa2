"""What can go wrong with a note."""

from ..errors import ServiceError


class NoteNotFound(ServiceError):
    status = 404
    detail = "There is no note with this id."


class NoteChanged(ServiceError):
    """The note is no longer the one that was read."""

    status = 409
    detail = "The note was changed or deleted meanwhile, so nothing was written: try again."


class PreconditionFailed(ServiceError):
    status = 412
    detail = "The note's version is none that If-Match names: read it again."


class UpstreamFailed(ServiceError):
    status = 502
    detail = "The upstream did not answer as agreed, so nothing was written."


class UpstreamTimedOut(ServiceError):
    status = 504
    detail = "The upstream did not answer in time, so nothing was written."
