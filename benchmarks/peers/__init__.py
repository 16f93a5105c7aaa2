"""What one would write instead, in the usual way: one transaction a request, begun by what is used."""
