"""The report: figures in words, as tables, and as one page to send on."""
