# SPDX-License-Identifier: MIT
"""EnOS's REST interface (DECADA's too): what its access keys, signatures and answers are.

The roads themselves are in `https.enos_*`.
"""
