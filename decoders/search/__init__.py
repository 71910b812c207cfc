"""From a decoder to captions: greedy, beam, diverse beam, sampling."""
