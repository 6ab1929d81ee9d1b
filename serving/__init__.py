"""The online service: which offers for this customer, in this channel, now."""
