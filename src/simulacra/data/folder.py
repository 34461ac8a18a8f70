"""Data sets from a folder of image files; classes by sub-folders, or by file names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from simulacra.data.dataset import Dataset
from simulacra.data.decoding import Decoded, decoded
from simulacra.data.file_names import Arranged, arranged, check_broken
from simulacra.data.form import Form
from simulacra.data.formats.images import SUFFIXES
from simulacra.data.formats.listing import Listing, counted, list_files, shown
from simulacra.data.labels import form_of, names_of
from simulacra.data.splits import FEWEST, arrange
from simulacra.ground.errors import DataError


def load_folder(
    folder: Path,
    form: Form = Form(),
    listing: Listing | None = None,
    unread: list[str] | None = None,
) -> Dataset:
    """The images of a folder and all folders below, sorted by name, split at random.

    If no image lies in the folder itself and at least two of its sub-folders hold some, these are
    the classes in alphabetical order. Sub-folders called `train` and `test` (and `validation`)
    are ready splits, and the classes lie within them. Hidden files and folders are passed over,
    and so are links to folders that are read anyway.

    Images are RGB if any file is, else grey. If all are stored with one and the same palette, they
    stay its indices, unless a colour or a smooth resizing is asked for.

    Args:
        folder: The folder.
        form: `side` and `colour` are met here, file by file, save that colours of a palette are
            not counted or found; `labels` is a pattern of file names that replaces sub-folders,
            and `groups` one of what never spans two splits.
        listing: Its files, if they are known.
        unread: Gets the names of files that the system did not let read, as it may another time.

    Raises:
        DataError: If there are no images, more than one in a hundred cannot be read, their sizes
            differ while no side is given, or a name does not fit the pattern of labels or groups.
        UsageError: If a pattern is none, gives every image the same label, or makes labels of
            groups.
        ResourceError: If they would not fit into memory, nor where caches are.
    """
    listing = listing or list_files(folder, SUFFIXES)
    place = shown(str(folder))
    if not listing.files:
        others = counted(listing.others, "other file") + " but no image"
        raise DataError(
            f"{place} holds {others if listing.others else 'no files'}: "
            f"expected files that end in {' '.join(sorted(SUFFIXES))}"
        )
    found, x, spec = decoded(folder, listing, form)
    if unread is not None:
        unread += found.unread
    notes = check_broken(found.broken, len(listing.files), place, "image")
    kept = found.files
    if len(kept) < FEWEST:
        raise DataError(
            f"{place} holds {counted(len(kept), 'image')}, expected at least {FEWEST}: add more"
        )
    names = arranged(listing.files, form.labels, form.groups, place, "image")
    notes += [*_notes(listing, found, names, form), *names.notes]
    places = {file: at for at, file in enumerate(listing.files)}
    if spec.palette is not None:
        notes.append(
            f"palette: the {len(spec.palette)} colours that all files share are kept in their "
            "order (--colour rgb reads plain RGB)"
        )
    return Dataset(
        name=shown(folder.name) or place,
        spec=replace(spec, **form_of(names.names, place)),
        **arrange(names.ready(x, [places[file] for file in kept]), folder),
        **names_of(names.names),
        description=f"Images from {place}.",
        notes=tuple(notes),
    )


def _notes(
    listing: Listing,
    found: Decoded,
    names: Arranged,
    form: Form,
) -> Iterator[str]:
    """What a reader of results has to know of these files."""
    if found.animated:
        yield f"{counted(found.animated, 'file')} of several frames: the first frame is taken"
    if found.enlarged:
        yield f"{counted(found.enlarged, 'image')} smaller than side {form.side} enlarged"
    if listing.again:
        links = counted(len(listing.again), "link")
        yield f"{links} to folders read already passed over, such as {shown(listing.again[0])}"
    has_splits = "" not in names.splits
    tops = [name for name in listing.folders if name.count("/") == has_splits]
    empty = [top for top in tops if not any(f.startswith(f"{top}/") for f in listing.files)]
    if empty and form.labels is None and names.names:
        first, number = shown(empty[0]), counted(len(empty), "sub-folder")
        yield f"{number} without images, such as {first}: no class is made of it"
    if (
        form.labels is None
        and form.groups is None
        and not names.names
        and all(file.count("/") > has_splits for file in listing.files)
    ):
        yield "all images lie in one sub-folder: classes need two"
