# SPDX-License-Identifier: MIT
"""An MQTT 3.1.1 endpoint for devices: `codec` (bytes), `topics` (who may say and hear what), `session`, `endpoint`."""
