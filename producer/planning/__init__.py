"""Which fleet draws a piece of work by a deadline most cheaply: pure arithmetic in integers."""
