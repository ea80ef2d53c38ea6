# SPDX-License-Identifier: MIT
"""The long works of the runtime, as generators that do a bounded piece between two yields.

A task yields the milliseconds it wants to rest (0: call me again at once), so a
download or an enrolment never blocks the app.  They live in files of their own
because a board loads each when it is needed and forgets it afterwards.
"""
