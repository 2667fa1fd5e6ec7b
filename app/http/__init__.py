"""Protocol-neutral HTTP helpers, which know no endpoint."""
