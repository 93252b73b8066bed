"""Fuzzing of all that reads bytes of others: ``make fuzz``. Coverage comes from atheris, which this alone needs.

- ``targets``  what is fuzzed: functions of bytes, which raise nothing
- ``corpus``   the inputs that are kept, a file a target; ``tests.fuzz`` plays each
- ``one``      fuzzes one target in this process, which libFuzzer ends
"""
