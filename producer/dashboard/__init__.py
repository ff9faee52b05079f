"""Pages for people: rendered on the server, kept fresh by Server-Sent Events."""
