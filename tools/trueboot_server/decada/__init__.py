# SPDX-License-Identifier: MIT
"""The DECADA dialect (EnOS), server side, and what follows from it.

login, envelope     the wire, pure
admission           who is let in
registry            products, devices, certificates
jobs, proof         upgrade jobs; what a report proves
running             what a device runs, by its reports
uplink, telemetry   what a device's message does
commands            a command down and its reply
desk                the MQTT endpoint's other side: all of it, put together
"""
