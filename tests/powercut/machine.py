"""A machine whose plug can be pulled: ext4 on a loop device on the FUSE disk of disk.c.

    mounts.own_mounts()
    with Machine() as machine:
        machine.mount()            # machine.path: the mounted file system
        machine.control("cut-after 7 some 1")
        machine.pull_the_plug()    # also where the disk has cut itself off
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import mounts
from mounts import run

HERE = pathlib.Path(__file__).resolve().parent
IMAGE_SIZE = 32 << 20


def why_not():
    """
    Why this cannot be had here; None if it can. Asks for what it needs, without disk.c: where that cannot be built, or
    does not come up, something is wrong.
    """
    why = mounts.why_not("cc", "mkfs.ext4", "pkg-config")
    if why is not None:
        return why
    if subprocess.run(["pkg-config", "fuse3"], check=False).returncode != 0:
        return "needs libfuse3-dev"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as why:
        return f"FUSE is not allowed here: {why}"
    try:
        with mounts.small_ext4():
            return None
    except OSError as why:
        return f"loop devices or ext4 are not allowed here: {why}"


class Machine:
    """One disk, and what is mounted of it."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-test-"))
        self.fuse, self.path = self.dir / "fuse", self.dir / "mnt"
        self.process = self.loop = None
        self.mounted = False

    def __enter__(self):
        try:
            return self._build()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exc):
        self.close()

    def _build(self):
        self.fuse.mkdir()
        self.path.mkdir()
        flags = run("pkg-config", "--cflags", "--libs", "fuse3").split()
        run("cc", "-D_GNU_SOURCE", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
            str(HERE / "disk.c"), *flags, "-o", str(self.dir / "disk"))
        image = self.dir / "image"
        with open(image, "wb") as file:
            file.truncate(IMAGE_SIZE)
        # ext4 writes its superblock, of two sectors, in place when it meets an error: with a checksum
        # a torn one could not be mounted.
        run("mkfs.ext4", "-q", "-b", "4096", "-m", "0", "-O", "^metadata_csum",
            "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", str(image))
        with open(self.dir / "log", "wb") as log:
            self.process = subprocess.Popen(
                [self.dir / "disk", "-f", "-s", self.fuse], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(os.environ, DISK_IMAGE=str(image)))
        self._wait((self.fuse / "disk").exists, "the disk does not come up")
        return self

    def control(self, command):
        """One command for the disk."""
        with open(self.fuse / "control", "wb", buffering=0) as file:
            file.write(command.encode())

    def report(self):
        """What the disk tells: (is it up, its counts)."""
        words = (self.fuse / "control").read_text().split()
        return words[0] == "up", {k: int(v) for k, v in zip(words[1::2], words[2::2])}

    def new_disk(self):
        """The disk as it was at first; it must not be mounted."""
        self.control("reset")

    def mount(self):
        """Brings the file system up; replays its journal."""
        run("mount", "-o", "loop", "-t", "ext4", str(self.fuse / "disk"), str(self.path))
        self.mounted = True
        device = os.stat(self.path).st_dev
        self.loop = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop")

    def unmount(self):
        """Takes it down, in order if the disk is up."""
        # A killed process's io_uring lets go of its files a little after the process has gone.
        self._wait(lambda: subprocess.run(["umount", self.path], capture_output=True, check=False).returncode == 0,
                   "cannot unmount")
        self.mounted = False
        self._wait(lambda: not self.loop.exists(), "the loop device does not go")

    def _wait(self, condition, otherwise):
        until = time.monotonic() + 20
        while not condition():
            if self.process.poll() is not None or time.monotonic() > until:
                raise OSError(f"{otherwise} {(self.dir / 'log').read_text()}")
            time.sleep(0.002)

    def pull_the_plug(self, keep="nothing", seed=0):
        """Cuts now, if the disk has not cut itself off, and brings up the disk with what was durable."""
        self.control(f"cut-after 0 {keep} {seed}")
        self.unmount()
        self.control("restart")

    def close(self):
        """Takes everything away."""
        for path in [self.path] * self.mounted + [self.fuse]:
            subprocess.run(["umount", "-l", path], capture_output=True, check=False)
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
