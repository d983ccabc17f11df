"""A payment provider of our own behind the official SDK, for development, tests, demos and small pilots.

It has the wire format of Stripe's API (https://docs.stripe.com/api) for the calls that this product makes. Its state is
in its own tables, so that it survives a restart and all processes share it. It is a Django app, installed only while no
Stripe key is set; outside of it only `payments.gateways.sandbox` imports it.
"""
