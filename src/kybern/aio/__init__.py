"""Time, chance and identity as inputs, and the small asyncio parts everything else is made of."""
