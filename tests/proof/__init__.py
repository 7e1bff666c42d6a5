# SPDX-License-Identifier: Apache-2.0
"""The isolation proof: the flows of all hosts, taken together, let through what the policy says and
nothing else.

`reference` says from policy rows alone who gets a frame; `network` runs the frame through the
compiled flows of every host (`interpreter`, `connections`); `probes` chooses frames at the edges of
what rules say; `checker` compares. `mutations` shows that the comparison has teeth: `judging` says
of each whether it is caught, and `equivalence` proves that nobody could catch the rest.
"""
