# SPDX-License-Identifier: MIT
VERSION = "1.0.0"
