"""Commands that work through a server: they import no database, queue or store."""
