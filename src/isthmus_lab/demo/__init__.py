# SPDX-License-Identifier: Apache-2.0
"""``make demo``: a small cloud that proves what Isthmus claims, check by check."""
