"""selfsight: a vision-language model teaches itself from unlabelled images, and shows whether it got better."""

__version__ = "0.1.0"
