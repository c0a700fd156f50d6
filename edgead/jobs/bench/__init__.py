"""How long a frame takes on the machine at hand: measuring, writing it down, comparing."""
