"""Download of what may be downloaded, by MONAI, with its checksum checked."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import UserError

DECATHLON = {"hippocampus": "Task04_Hippocampus", "brats": "Task01_BrainTumour"}


def fetch_decathlon(name: str, root: Path) -> Path:
    """Download a dataset of the Decathlon below ``root``, and return its folder.

    Raises:
        UserError: the download failed, or what came is not what was published.
    """
    from monai.apps import DecathlonDataset, download_url, extractall

    task = DECATHLON[name]
    folder = root / task
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    archive = root / f"{task}.tar"
    url, checksum = DecathlonDataset.resource[task], DecathlonDataset.md5[task]
    try:
        download_url(url, archive, hash_val=checksum, hash_type="md5")
        with TemporaryDirectory(dir=root, prefix=f".{task}.") as partial:  # the folder is whole or not there
            extractall(archive, partial, file_type="tar")
            (Path(partial) / task).rename(folder)
    except Exception as error:  # MONAI raises that class itself
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            url, f"a download that failed ({reason})", f"the archive with MD5 {checksum}",
            f"Remove {archive} and try again, or fetch it by hand and unpack it below {root}.",
        ) from error  # fmt: skip
    archive.unlink()
    return folder
