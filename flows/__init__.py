"""Flows, one a file, and the command line that starts them. Loopback goes through no proxy, whoever starts a flow."""

from flows.environment import loopback_without_proxy

loopback_without_proxy()
