"""People who never lived, photographed under every condition and aligned exactly: the embedded default data set.

Read it in the order in which a photo comes about: `asset` (the average head), `person` (what people differ by),
`shape`, `texture` and `hair` (what that makes of the head), `scene` with `expression` and `look` (what photos differ
by), `wear` (glasses, masks, hats), `surroundings` (what is behind and before), `renderer` with `raster` and `shading`
(light), `camera` (the picture), `studio` (all of it), `source`, `cache` and `write` (a data set).
"""
