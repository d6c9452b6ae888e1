"""What a file name tells: its Flywheel type and its MIME type. The longest extension wins.

Source: the table of file types of scitran/core (2018), the server Flywheel grew from.
"""

from __future__ import annotations

import re
from mimetypes import MimeTypes

EXTENSIONS: dict[str, tuple[str, ...]] = {
    "BrainVoyager": (".fmr", ".vmr", ".vtc"),
    "MATLAB data": (".mat",),
    "MGH data": (".mgh", ".mgz", ".mgh.gz"),
    "PAR/REC": (".parrec.zip", ".par-rec.zip"),
    "archive": (".zip", ".tar", ".tgz", ".tar.gz", ".tbz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz"),
    "audio": (".mp3", ".wav", ".wave"),
    "bval": (".bval", ".bvals"),
    "bvec": (".bvec", ".bvecs"),
    "dicom": (".dcm", ".dcm.zip", ".dicom", ".dicom.zip"),
    "document": (".doc", ".docx"),
    "eeg": (".eeg", ".eeg.zip"),
    "gephysio": (".gephysio.zip",),
    "image": (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff"),
    "log": (".log",),
    "markdown": (".md", ".markdown"),
    "markup": (".htm", ".html", ".xml"),
    "montage": (".montage.zip",),
    "nifti": (".nii", ".nii.gz", ".nifti"),
    "pdf": (".pdf",),
    "pfile": (".7", ".7.gz", ".7.zip"),
    "presentation": (".ppt", ".pptx"),
    "qa": (".qa.json", ".qa.png"),
    "source code": (
        ".c",
        ".cpp",
        ".css",
        ".java",
        ".js",
        ".json",
        ".m",
        ".php",
        ".py",
        ".toml",
        ".yaml",
        ".yml",
    ),
    "spreadsheet": (".xls", ".xlsx"),
    "tabular data": (".csv", ".csv.gz", ".tsv", ".tsv.gz"),
    "text": (".txt",),
    "video": (".m4v", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
}

_TYPES = {extension: name for name, many in EXTENSIONS.items() for extension in many}
_MIME = MimeTypes()  # the table built in, not that of the machine
_MIME.add_type("application/dicom", ".dcm")
_MIME.add_type("application/x-nifti", ".nii")
OCTETS = "application/octet-stream"
_SENDABLE = re.compile(r"[!-~][ -~]{0,254}")


def file_type(name: str) -> str | None:
    """The Flywheel type, or nothing."""
    _, dot, rest = name.lower().partition(".")
    while dot:
        if found := _TYPES.get(f".{rest}"):
            return found
        _, dot, rest = rest.partition(".")
    return None


def mimetype(name: str) -> str:
    """The MIME type; that of plain bytes when the name says nothing, or is packed."""
    guess, encoding = _MIME.guess_type(f"x{name[name.rfind('.') :]}" if "." in name else name)
    if encoding is not None:
        return f"application/{encoding}"
    return guess or OCTETS


def sendable(told: str) -> str:
    """A MIME type as a header can have it; that of plain bytes where none can."""
    return told if _SENDABLE.fullmatch(told) else OCTETS
