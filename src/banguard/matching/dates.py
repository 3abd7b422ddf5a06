"""Find and read the date of a line; remember the last second and the last template."""

from __future__ import annotations


class FoundDate:
    """
    A date in a line.

    *start* and *end* delimit what is cut out of the line, *text* is that piece. *time* is in seconds since the epoch,
    or None: either because the template says that a date is optional here and this line has none (*optional* is then
    true: take the last date seen if it is fresh, else now), or because the text is no possible date, such as
    31 February (*optional* is false: an error is to be logged and the line treated as one without a date; nothing else
    about the line changes, the text is still cut). *template* is the one that won.
    """

    __slots__ = ("end", "optional", "start", "template", "text", "time")


class DateDetector:
    """
    Finds the date of each line of one log; keeps the order and the last winner of its templates.

    *datepattern* is the text of the option (None: all defaults), *timezone* the zone of dates that name none (see
    `zones.parse_zone`; None: the local time of the system), *any_year* lets years from 1900 to 2099 pass where else
    only those from 2000 to the end of the decade of now plus three years do, as the filter tester wants it.
    Raises PatternError for a pattern or zone that cannot be used. Not thread-safe.

    `templates` is the list of templates in the present order of trial; each has `name`, `hits` and `regex`.
    `description` is the name of the pattern: `Default Detectors`, or the template names.
    """

    def __init__(self, datepattern: str | None = None, *, timezone: str | None = None, any_year: bool = False) -> None:
        ...

    def find(self, line: str, now: float) -> FoundDate | None:
        """Return the date of *line* (without newline), read as of *now* (epoch seconds); None when there is none."""
        ...
