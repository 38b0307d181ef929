"""Exchange with others in the JSON of ICAR ADE 1.5 (adewg/ICAR, Apache-2.0), by location."""
