"""What the families reach, as rows that are measured one after another: `make figures`.

`rows.py` says what is measured, `doing.py` does a row as the command line would, `page.py` writes
what was found into docs/results.json and makes docs/results.md of it.
"""
