"""Fuzzing of all that reads bytes of others: ``make fuzz``. Coverage comes from atheris, which this alone needs.

- ``targets``  what is fuzzed: functions of bytes, which raise nothing
- ``seeds``    what fuzzing begins with: what is sent when all is well
- ``corpus``   the inputs that are kept, a file a target, and apart from them each that showed a fault; ``tests.fuzz``
  plays all of them
- ``one``      fuzzes one target in this process, which libFuzzer ends
"""
