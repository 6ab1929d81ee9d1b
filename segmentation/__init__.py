"""Who our customers are: RFM groups, lifecycle states, behavioural clusters.

Pure functions over the frame of features as of T: one row a customer in, one row a customer out.
"""
