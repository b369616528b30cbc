"""Processes that are started to work for another one."""

import multiprocessing.connection
import os
import signal
import threading


def end_with_parent():
    """Let this process end as soon as the one that started it is gone, however that ended.

    Otherwise it would finish its work unseen, while the same work is begun again elsewhere.
    """

    def watch():
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def leave_ctrl_c_to_parent():
    """Let this process end with its parent, and not by Ctrl-C, which the terminal sends to both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
