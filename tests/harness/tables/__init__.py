"""Tables of cases that tests, the differential run and the fuzzer share."""
