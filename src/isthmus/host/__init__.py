# SPDX-License-Identifier: Apache-2.0
"""What every host decides, whatever its switch: what it reads of the policy, which ports it has,
what it answers its guests, what it says of itself.
"""
