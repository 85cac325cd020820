"""The occlusion head: how much of eyes, mouth and face is covered, learnt from synthetic occluders."""
