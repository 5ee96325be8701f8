"""The tests, in packages that mirror the program's; the scenarios, the contract, and what they stand on."""
