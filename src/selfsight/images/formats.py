"""Which format a file has, by its first bytes. Extensions are not believed: people rename files."""

from typing import Final

# The first bytes of the formats that are read.
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
)
_AVIF_BRANDS: Final = (b"avif", b"avis")
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

# Formats worth naming in the message, because people do have such files.
_OTHER_FORMATS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"8BPS", "a Photoshop file"),
    (b"SIMPLE", "a FITS file"),
    (b"%!PS", "an EPS or PostScript file"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
    (b"<?xml", "an SVG or XML file"),
    (b"<", "a web page or XML file"),
    (b"{", "JSON text"),
    (b"[{", "JSON text"),
    (b'["', "JSON text"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\3\4", "a zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"PAR1", "a Parquet file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
)
_BYTE_ORDER_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def format_of(head: bytes) -> str:
    """The format of a file by its first bytes; a phrase for one that is not read."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), int.from_bytes(head[:4])), 4))]
        if any(brand in _AVIF_BRANDS for brand in brands):
            return "AVIF"
        return "HEIC" if any(brand in _HEIC_BRANDS for brand in brands) else "a video"
    known = next((name for magic, name in _MAGIC if head.startswith(magic)), "")
    if known:
        return known
    text = head
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            text = head.removeprefix(mark).decode(encoding, "ignore").encode()
    return next((name for magic, name in _OTHER_FORMATS if text.lstrip().startswith(magic)), "unknown data")
