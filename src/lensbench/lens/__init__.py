"""The lens: hidden states and attention in, small exact statistics out."""
