"""How a process of the cluster learns that it is to end."""

import asyncio
import signal


async def until_stopped() -> None:
    """Until TERM or INT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
