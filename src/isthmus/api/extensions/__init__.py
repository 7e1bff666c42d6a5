# SPDX-License-Identifier: Apache-2.0
"""What is offered beyond MS-NCNBI, below ``/networking/<version>/isthmus``: a file for each
extension, with its handlers and its routes."""
