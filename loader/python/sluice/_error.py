"""Error: what data, disk, driver or a wrong argument can cause, as the C++ library tells it."""

from sluice import _sluice


class Error(Exception):
    """What happened, where, and what to do about it; str() says all of it on one line.

    code: a stable name, "bad_header"; number: the same as a number. message: what happened, without the place.
    path, offset (bytes from the beginning of that file), tensor; line and column of rules; hint: each None where it
    does not apply. Errors of some codes are Python's own exceptions, too: a FileNotFoundError for "not_found", a
    KeyError for "tensor_not_found", a ValueError for "invalid_argument" and "bad_rules", a MemoryError for
    "out_of_memory", an OSError for "io".
    """

    code = None
    number = 0
    message = None
    path = None
    offset = None
    tensor = None
    line = None
    column = None
    hint = None

    def __str__(self):
        return str(self.args[0]) if self.args else ""


class NotFoundError(Error, FileNotFoundError):
    pass


class IoError(Error, OSError):
    pass


class TensorNotFoundError(Error, KeyError):
    pass


class InvalidError(Error, ValueError):
    pass


class OutOfMemoryError(Error, MemoryError):
    pass


_KINDS = {
    "not_found": NotFoundError,
    "io": IoError,
    "tensor_not_found": TensorNotFoundError,
    "invalid_argument": InvalidError,
    "bad_rules": InvalidError,
    "out_of_memory": OutOfMemoryError,
}


def _make(number, code, what, message, path, offset, tensor, line, column, hint):
    error = _KINDS.get(code, Error)(what)
    error.number, error.code, error.message, error.hint = number, code, message, hint
    error.path, error.offset, error.tensor, error.line, error.column = path, offset, tensor, line, column
    return error


_sluice.set_error_maker(_make)
