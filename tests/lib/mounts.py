"""File systems of a test's own: they go when it ends, however it ends."""

import contextlib
import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile


def run(*command, **options):
    """A command that must succeed; what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def own_mounts():
    """From here on, what this process and its children mount is theirs, and goes when they do."""
    clone_newns = 0x20000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(clone_newns) != 0:
        raise OSError("no mount namespace: " + os.strerror(ctypes.get_errno()))
    run("mount", "--make-rprivate", "/")


@contextlib.contextmanager
def small_ext4(size=64 << 20):
    """The path of an ext4 of our own, on a loop device. OSError where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as directory:
        image, path = os.path.join(directory, "image"), os.path.join(directory, "mnt")
        os.mkdir(path)
        with open(image, "wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-m", "0", image)
        run("mount", "-o", "loop", image, path)
        try:
            yield pathlib.Path(path)
        finally:
            run("umount", "-l", path)


def why_not(*tools):
    """Why nothing can be mounted here; None if it can, and own_mounts was called."""
    if os.geteuid() != 0:
        return "needs root, to mount"
    missing = [tool for tool in ("mount", "umount", *tools) if shutil.which(tool) is None]
    if missing:
        return "needs " + ", ".join(missing)
    try:
        own_mounts()
        with tempfile.TemporaryDirectory() as probe:
            run("mount", "-t", "tmpfs", "tmpfs", probe)
            run("umount", probe)
    except OSError as why:
        return f"mounting is not allowed here: {why}"
    return None
