"""Runs cases with one library under one sender: `python run.py SENDER LIBRARY CASE...`.

`PROVIDER` is the base URL of the stand-in provider, and `RECEIVER` that of the server that takes traces. After each
case the program tells the receiver which case its requests belong to.
"""

import importlib
import sys
import traceback
import urllib.request

import senders

sender, library, *cases = sys.argv[1:]
started = senders.start(sender, library)  # before the import: some instrumentors patch what creates clients
module = importlib.import_module(f"calls_{library}")
for case in cases:
    try:
        with started.identity():
            module.CASES[case]()
    except Exception:
        # The provider's errors are cases too; the recorder shows these lines if it recorded nothing.
        traceback.print_exc()
    started.flush()
    urllib.request.urlopen(f"{senders.RECEIVER}/recorded/{case}", b"").close()
