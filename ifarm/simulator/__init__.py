"""Realistic herds for demonstrations, benches and tests: a seeded model of events, not random rows.

`rates` says what is known and from where, `curves` how milk, weight and eggs follow from it, `herd` what happens day by
day, `tables` which rows that makes, `load` how they come into the database.
"""
