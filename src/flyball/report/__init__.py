"""What a person sees: sentences, tables, plots in the terminal, and the page. Values in, text out; no I/O."""
