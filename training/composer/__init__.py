"""A procedural composer: attributes of a video over time to music of four parts, causal and deterministic by its seed.

frames ─► Extractor: attributes ─► Composer: notes on steps of 20 ms ─► SoundFont: samples

It is the teacher of the starter model, the ceiling of its measures, and a backend of its own (`--model procedural`).
"""
