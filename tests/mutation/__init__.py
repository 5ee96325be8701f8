"""What would no test notice? Single changes of the code, one at a time, each against the tests of its module."""
