# SPDX-License-Identifier: MIT
"""The DECADA dialect (EnOS), server side; what follows from its messages is the `fleet`'s.

login, envelope     the wire, pure
admission           who is let in
uplink              what a device's message does
commands            a command down and its reply
desk                all of it, put together
"""
