"""A payment provider of our own behind the official SDK, for development, tests, demos and small pilots.

It speaks the wire format of Stripe's API (https://docs.stripe.com/api) for the calls this product makes, and keeps
its ledger in its own tables, so that it survives a restart and is shared by all processes.
"""
