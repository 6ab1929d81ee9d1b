"""The shared language of Regulars: contracts, features, money, time, errors. No input or output."""
