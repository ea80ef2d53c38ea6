# SPDX-License-Identifier: MIT
"""From a bare board to a device that the server has heard from: `trueboot flash`, `trueboot bench`, `trueboot labels`."""
