"""Terminals and pipes: a pair inside a given devpts, window sizes, buffer sizes."""

import fcntl
import os
import stat
import struct
import termios

from kybern.linux import beneath

_TIOCSPTLCK, _TIOCGPTN, _TIOCGPTPEER = 0x40045431, 0x80045430, 0x5441
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032
PTMX = os.makedev(5, 2)
TERMINAL_BYTES = 4096  # n_tty.c
PIPE_BYTES = 1 << 20  # the largest an unprivileged limit allows: a chatty container is read in large pieces


def open_pair(root: int) -> tuple[int, int, str]:
    """A terminal of the devpts mounted in `root` (an open directory): its master, its slave, the slave's path.

    Nothing is looked up by a name that the container could have replaced: the master must be the real device, and
    the slave is opened through it.
    """
    flags = os.O_RDWR | os.O_NOCTTY
    resolve = beneath.IN_ROOT | beneath.NO_SYMLINKS
    master = beneath.open_at(root, "dev/pts/ptmx", flags, resolve=resolve)
    about = os.fstat(master)
    if not stat.S_ISCHR(about.st_mode) or about.st_rdev != PTMX:
        os.close(master)
        raise OSError(25, "not a terminal multiplexer", "/dev/pts/ptmx")
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    [number] = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, struct.pack("i", 0)))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, flags | os.O_CLOEXEC)
    return master, slave, f"dev/pts/{number}"


def make_controlling(terminal: int) -> None:
    """The terminal of this process, which leads its session."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def resize(terminal: int, width: int, height: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height & 0xFFFF, width & 0xFFFF, 0, 0))


def widen_pipe(descriptor: int) -> None:
    """As large as this system allows it to be."""
    try:
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_BYTES)
    except PermissionError:
        pass  # over /proc/sys/fs/pipe-max-size: the default size works, only slower


def capacity(descriptor: int) -> int:
    """Of a pipe or a terminal: how much may be written before somebody reads."""
    try:
        return fcntl.fcntl(descriptor, _F_GETPIPE_SZ)
    except OSError:
        return TERMINAL_BYTES
