"""One HTML page about a folder of runs, which holds all it shows: `write_report` of `page.py`."""
