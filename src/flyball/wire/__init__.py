"""The border: foreign text and documents to nouns, and nouns back to documents.

Belongs here: formats, their units, field names and defaults, and what is refused and why. Does not
belong here: files, sockets, clusters (`adapters`), decisions (`solve`). No I/O, no NumPy. Whatever
comes in ends as a value or as one `WireError`.
"""
