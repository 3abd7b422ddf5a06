"""Time zones of dates: abbreviations, fixed offsets, IANA names, the local time of the system."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from banguard.message import tell

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

# Number of days from 0001-01-01 (ordinal 1) to 1970-01-01, in seconds, so that wall-clock seconds count from year 1.
EPOCH_WALL = 719_163 * 86_400

_OFFSET = re.compile(r"(?P<name>[A-Z]{1,5})?(?:(?P<sign>[+-])(?P<hours>[01]\d)(?::?(?P<minutes>\d\d))?)?")

# Hours east of UTC of each abbreviation as logs use them; where a name stands twice the later one counts.
_ABBREVIATIONS = """
-12 Y; -11 X NUT SST; -10 W CKT HAST HST TAHT TKT; -9 V AKST GAMT GIT HADT HNY; -8 U AKDT CIST HAY HNP PST PT;
-7 T HAP HNR MST PDT; -6 S CST EAST GALT HAR HNC MDT; -5 R CDT COT EASST ECT EST ET HAC HNE PET;
-4 Q AST BOT CLT COST EDT FKT GYT HAE HNA PYT; -3 P ADT ART BRT CLST FKST GFT HAA PMST PYST SRT UYT WGT;
-2 O BRST FNT PMDT UYST WGST; -1 N AZOT CVT EGT; 0 Z EGST GMT UTC WET WT; 1 A CET DFT WAT WEDT WEST;
2 B CAT CEDT CEST EET SAST WAST; 3 C EAT EEDT EEST IDT MSK; 4 D AMT AZT GET GST KUYT MSD MUT RET SAMT SCT;
5 E AMST AQTT AZST HMT MAWT MVT PKT TFT TJT TMT UZT YEKT; 6 F ALMT BIOT BTT IOT KGT NOVT OMST YEKST;
7 G CXT DAVT HOVT ICT KRAT NOVST OMSST THA WIB; 8 H ACT AWST BDT BNT CAST HKT IRKT KRAST MYT PHT SGT ULAT WITA WST;
9 I AWDT IRKST JST KST PWT TLT WDT WIT YAKT; 10 K AEST ChST PGT VLAT YAKST YAPT; 11 L AEDT LHDT MAGT NCT PONT SBT
VLAST VUT; 12 M ANAST ANAT FJT GILT MAGST MHT NZST PETST PETT TVT WFT; 13 FJST NZDT; 11.5 NFT; 10.5 ACDT LHST;
9.5 ACST; 6.5 CCT MMT; 5.75 NPT; 5.5 SLT; 4.5 AFT IRDT; 3.5 IRST; -2.5 HAT NDT; -3.5 HNT NST NT; -4.5 HLV VET;
-9.5 MART MIT
"""


def _read_table(text: str) -> dict[str, int]:
    table = {}
    for entry in text.split(";"):
        hours, *names = entry.split()
        for name in names:
            table[name] = round(float(hours) * 3600)
    return table


ABBREVIATIONS = _read_table(_ABBREVIATIONS)
"""Seconds east of UTC of each known abbreviation; case matters."""


class Zone(Protocol):
    """Turns wall-clock time into epoch time, and the reverse."""

    offset: int | None
    """Seconds east of UTC when that never changes, else None."""

    def epoch(self, wall: int, now: float) -> tuple[float, float]:
        """
        Return the epoch time of *wall* (seconds since 0001-01-01 00:00 on the zone's clock), read as of *now*.

        A time that the clock showed twice is the later one only if that lies in the hour before *now* (such a line
        has just been written), else the earlier one; one that it skipped counts on from the time before the change.
        The second value says until which *now* that answer holds (infinite when the time is not a repeated one).
        """
        ...

    def wall(self, now: float) -> float:
        """Return what the clock that "this year" and "today" go by shows at epoch time *now*."""
        ...


class FixedZone:
    """A constant offset from UTC. "Today" and "this year" are those of the system's local time."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset: int | None = offset

    def epoch(self, wall: int, now: float) -> tuple[float, float]:  # noqa: ARG002 - the protocol
        """Return *wall* less the offset."""
        return float(wall - (self.offset or 0) - EPOCH_WALL), _FOR_EVER

    def wall(self, now: float) -> float:
        """Return the system's local time."""
        return LOCAL.wall(now)


class LocalZone:
    """The system's local time, as `TZ` or /etc/localtime say; a change of these is followed."""

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset: int | None = None

    def epoch(self, wall: int, now: float) -> tuple[float, float]:
        """Return the epoch time of local time *wall*."""
        time.tzset()
        moment = _naive(wall)
        try:
            return _nearest(moment, now)
        except (ValueError, OverflowError):  # the first and last days that datetime knows
            return time.mktime((*moment.timetuple()[:8], -1)), _FOR_EVER

    def wall(self, now: float) -> float:
        """Return local time."""
        return _seconds(datetime.fromtimestamp(now))


class NamedZone:
    """A zone of the IANA database, with its own "today"."""

    __slots__ = ("_info", "offset")

    def __init__(self, info: ZoneInfo) -> None:
        self.offset: int | None = None
        self._info = info

    def epoch(self, wall: int, now: float) -> tuple[float, float]:
        """Return the epoch time of *wall* in this zone."""
        return _nearest(_naive(wall).replace(tzinfo=self._info), now)

    def wall(self, now: float) -> float:
        """Return the time in this zone."""
        return _seconds(datetime.fromtimestamp(now, self._info).replace(tzinfo=None))


LOCAL = LocalZone()
_FOR_EVER = float("inf")
_YEAR_ONE = datetime(1, 1, 1)
_DAY = 86_400


def _naive(wall: int) -> datetime:
    days, seconds = divmod(wall, _DAY)
    date = datetime.fromordinal(days)
    return date.replace(hour=seconds // 3600, minute=seconds // 60 % 60, second=seconds % 60)


def _seconds(moment: datetime) -> float:
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    return moment.toordinal() * _DAY + seconds + moment.microsecond / 1e6


def _nearest(moment: datetime, now: float) -> tuple[float, float]:
    first = moment.timestamp()
    second = moment.replace(fold=1).timestamp()
    if second <= first:
        return first, _FOR_EVER
    if second <= now < second + 3600:
        return second, second + 3600
    return first, second if now < second else _FOR_EVER


def offset_of(text: str) -> int:
    """
    Return the seconds east of UTC of a fixed zone as lines name it: `Z`, `CET`, `+0200`, `-02:30`, `UTC+02`.

    Raises ValueError for anything else, an unknown abbreviation included.
    """
    parts = _OFFSET.fullmatch(text)
    if parts is None or not text:
        raise ValueError(tell("unknown time zone {text!r}", code="timezone-unknown", text=text))
    name, sign, hours, minutes = parts.groups()
    offset = 0
    if name:
        if name not in ABBREVIATIONS:
            raise ValueError(tell("unknown time zone {text!r}", code="timezone-unknown", text=text))
        offset = ABBREVIATIONS[name]
    if sign:
        shift = int(hours) * 3600 + int(minutes or 0) * 60
        offset += -shift if sign == "-" else shift
    return offset


def parse_zone(text: str | None) -> Zone:
    """
    Return the zone that *text* names: a fixed one (see `offset_of`) or an IANA name such as `Europe/Zurich`.

    None is the local time of the system. An abbreviation is a fixed offset even where an IANA zone has the same name
    (`CET`, `EST`), as everywhere else in this program. Raises ValueError for an unknown zone.
    """
    if not text:
        return LOCAL
    if text in ABBREVIATIONS:
        return FixedZone(ABBREVIATIONS[text])
    try:
        return FixedZone(offset_of(text))
    except ValueError:
        pass
    import zoneinfo  # noqa: PLC0415 - only configurations that name an IANA zone pay for it

    try:
        return NamedZone(zoneinfo.ZoneInfo(text))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            tell(
                "unknown time zone {text!r}: neither an offset such as UTC+0200, an abbreviation such as CET, "
                "nor a name such as Europe/Zurich",
                code="timezone-unknown",
                text=text,
            )
        ) from None
