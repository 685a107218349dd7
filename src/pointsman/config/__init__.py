"""Configuration: YAML in, one frozen `Policy` out. Import its modules by name; this package imports nothing."""
