"""A worker process that ends when the process that started it is gone, also if that was killed and could not say so."""

import os
import threading
from multiprocessing import parent_process


def end_with_parent():
    """Call in a worker: without this it would finish its work beside the next run, or wait forever."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
