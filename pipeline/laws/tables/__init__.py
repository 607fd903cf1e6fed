"""Tables: laws and crossovers of any table, from its cells to one document."""
