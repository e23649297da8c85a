"""What everything else stands on: errors, limits, the codec, signatures, and shares of a bounded space."""
