# SPDX-License-Identifier: MIT
"""Reads the TRANSITIONS table of a machine."""


def declared(module):
    """{(phase, event): (phase, ...)}"""
    table = {}
    for line in module.TRANSITIONS.strip().split("\n"):
        left, right = line.split(" -> ")
        phase, event = left.split(" ")
        table[(phase, event)] = tuple(right.split(" "))
    return table


def expected(table):
    return {(k[0], k[1], to) for k in table for to in table[k]}
