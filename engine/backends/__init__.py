"""The one seam to the accelerator: `base.Backend`, and what stands behind it."""
