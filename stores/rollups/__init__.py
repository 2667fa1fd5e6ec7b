"""Roll-ups: counts of calls per hour and day, exact to the last acknowledged write by marks of changed hours."""
