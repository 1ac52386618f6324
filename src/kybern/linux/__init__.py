"""The only door to the kernel. Nothing else imports ctypes, fcntl or subprocess.

Reading order: syscalls (what libc lacks in Python), then by subject: namespaces, mounts, cgroups, capabilities, seccomp,
netlink, netns, nft.
"""
