"""JPEG that ends early: a decoder works from the top down, so it may stop below the last row that a box needs.

Only the height in the header is changed. What is decoded is the same, bit for bit; what is left over at the end of the
data is not looked at (libjpeg warns of it, which its callers here are told to ignore: the bytes were checked).
"""

START, SCAN = 0xD8, 0xDA
FRAMES = (0xC0, 0xC1)
"""Baseline and extended: coded row by row. Progressive data come in several scans of the whole image."""


def ended_early(data: bytes, shape: tuple[int, int], rows: int) -> bytes | None:
    """``data`` (of an image of ``shape`` (H, W)) so that little more than its first ``rows`` rows are decoded.

    None where nothing is gained, and for anything but a JPEG of this shape whose only scan has all its channels.
    """
    if data[:2] != bytes((0xFF, START)):
        return None
    place, frame = 2, 0
    while place + 21 <= len(data) and data[place] == 0xFF and data[place + 1] != SCAN:
        frame = place if data[place + 1] in FRAMES else frame
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    height, width = (int.from_bytes(data[frame + at : frame + at + 2], "big") for at in (5, 7))
    if not frame or (height, width) != shape or data[place : place + 2] != bytes((0xFF, SCAN)):
        return None
    channels = data[frame + 9]
    if not 0 < channels <= 4 or data[place + 4] != channels:
        return None
    unit = 8 * max(data[frame + 11 + 3 * k] & 15 for k in range(channels))
    # Interpolated colour of a unit's last row takes from the unit below: so one row more is decoded.
    high = -(-(rows + 1) // max(unit, 1)) * unit
    return data[: frame + 5] + high.to_bytes(2, "big") + data[frame + 7 :] if high < height else None
