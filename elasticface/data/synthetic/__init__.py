"""People who never lived, photographed under every condition and aligned exactly: the embedded default data set."""
