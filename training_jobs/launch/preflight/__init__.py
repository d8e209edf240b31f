"""Checks the nodes before the job starts: devices, network, storage and clocks, measured and compared with floors."""
