"""What ``make deb-test`` and ``make image-test`` run: package and image, built, installed and used, in minutes.

``make test`` checks both without a root of debootstrap's (``tests.test_deb``, ``tests.test_containers``).
"""
