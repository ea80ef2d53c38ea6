# SPDX-License-Identifier: MIT
"""The fleet, whatever language its devices speak.

registry            products, devices, certificates
certify, replacement, tpms   who may have a certificate
jobs, proof         upgrade jobs; what a report proves
running             what a device runs, by its reports
telemetry, shadow   what devices measure; their attributes and tags
dialect             what a cloud's language has to know
desk                every device's sessions, over all dialects
"""
