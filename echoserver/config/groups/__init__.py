"""The options of the server, a module for each group of them. They are shown in the order of the groups here."""
