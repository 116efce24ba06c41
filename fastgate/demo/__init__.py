"""The demo: a character-level language model learns a text, then writes some. Also an example of a whole program."""
