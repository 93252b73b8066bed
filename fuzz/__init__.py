"""Fuzzing of everything that parses bytes of others: ``make fuzz``. Only ``one`` needs atheris.

- ``targets``  the fuzzed code: functions of bytes that raise nothing
- ``seeds``    the first inputs: valid data
- ``corpus``   the inputs that are kept: those that cover more code, and those that showed a fault; ``tests.fuzz`` plays
  all of them
- ``one``      fuzzes one target in this process, which libFuzzer ends
"""
