# SPDX-License-Identifier: MIT
"""The esthesis CORE dialect, server side; what follows from its messages is the `fleet`'s.

elp            esthesis Line Protocol, pure
words          commands down and their replies, pure
paths          the roads' spellings
packages       what a device calls a release, and packages that an operator made
tokens         how a device that asks proves who it is
registration   who may register, and what it is given
commands       commands on their way, kept with their replies
desk           admission, messages and pushes
"""
