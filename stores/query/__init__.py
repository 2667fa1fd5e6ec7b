"""What clients ask, made into MongoDB's terms: fields, sorts, and pages of what they find."""
