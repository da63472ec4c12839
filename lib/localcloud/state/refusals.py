"""Refusals: CloudStack's errors and their numbers."""

UNVERIFIED = "unable to verify user credentials and/or request signature"
INVALID_VALUE, RUNTIME, CAPACITY, DENIED, DIRECT = 4350, 4250, 4325, 4365, 9999


class ApiError(Exception):
    """A refusal: HTTP and API code, text, and CloudStack's own number for the cause."""

    hidden = False  # users see its text only when a job ends with it

    def __init__(self, code: int, text: str, cause: int | None = INVALID_VALUE, key: str = ""):
        self.code, self.text, self.cause, self.key = code, text, cause, key
        super().__init__(f"{code} {text}")


def invalid(text: str) -> ApiError:
    """Return the refusal of a value or a state (431)."""
    return ApiError(431, text, INVALID_VALUE)


def broken(text: str) -> ApiError:
    """Return the refusal for an exception inside the server (530)."""
    return hidden(text, RUNTIME)


def hidden(text: str, cause: int) -> ApiError:
    """Return the refusal for an exception (530) whose text is for jobs and the log only."""
    error = ApiError(530, text, cause)
    error.hidden = True
    return error


def full(text: str) -> ApiError:
    """Return the refusal for lack of capacity (533)."""
    return ApiError(533, text, CAPACITY)


def param(command: str, why: str) -> ApiError:
    """Return the refusal of a parameter before the command looks at it (431)."""
    text = f"Unable to execute API command {command.lower()} due to {why}"
    return ApiError(431, text, DIRECT)


def refuse(*rules: tuple[object, str]) -> None:
    """Refuse a call (431) with the text of the first rule that it breaks."""
    for is_broken, text in rules:
        if is_broken:
            raise ApiError(431, text, DIRECT)
