"""The client of an echo server: a prompt, a byte-exact pipe, and the instruments around them."""
