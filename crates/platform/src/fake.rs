//! A deterministic platform for unit tests: contexts play a script of exits.
