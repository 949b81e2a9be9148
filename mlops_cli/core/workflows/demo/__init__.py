"""`mlo demo`: the whole life of a model, played with real commands on real flights."""
