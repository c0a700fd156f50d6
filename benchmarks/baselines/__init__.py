"""Ways of doing the same work, each written out as people do it.

All take one frame in memory to a score and a map of the frame's size, with all twelve blocks of ViT-S/14 and
one reference in eight rotations. Another way is one module and one entry in :data:`.ways.WAYS`.
"""
