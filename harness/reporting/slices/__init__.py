"""Which cases and slices of volumes are shown, as arrays: no plotting here."""
